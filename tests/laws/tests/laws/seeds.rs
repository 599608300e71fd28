//! Every law has a fuzz target and seeds of its name, and the seeds hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use artifact_store_laws::TARGETS;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_law_has_a_fuzz_target_and_seeds_that_hold() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let laws: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("fuzz_targets")), laws);
    assert_eq!(names(&fuzz.join("corpus")), laws);
    for (name, law) in TARGETS {
        let folder = fuzz.join("corpus").join(name);
        assert!(names(&folder).len() >= 3, "{name} has fewer than 3 seeds");
        for seed in fs::read_dir(folder).unwrap() {
            let seed = seed.unwrap().path();
            println!("{}", seed.display());
            law(&fs::read(seed).unwrap());
        }
    }
}
