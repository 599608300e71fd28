//! The members of JSON objects as rows of a table: type, whether it is there, meaning. What stands in several places, or deep
//! within another, has a section of its own. Must never know which method takes an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::{Document, entries, items, text};
use super::markdown::{anchor, code};
use super::shapes::{Shape, alternatives};

/// Which objects have a section of their own.
#[derive(Debug)]
pub(super) struct Members<'a> {
    document: &'a Document,
    sections: BTreeSet<&'a str>,
}

impl<'a> Members<'a> {
    /// What can be reached from `roots`, which are tables themselves.
    pub(super) fn new(document: &'a Document, roots: &[&'a Value]) -> Self {
        let mut members = Self { document, sections: BTreeSet::new() };
        members.sections = members.repeated(roots);
        while let Some(deep) = members.deep(roots) {
            members.sections.insert(deep);
        }
        members
    }

    /// The objects with a section, by name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.sections.iter().filter_map(|name| Some((*name, self.document.schema(name)?)))
    }

    /// The rows of an object: member, type, whether it is always there, meaning. Objects within it follow it, one level deep.
    pub(super) fn rows(&self, object: &'a Value) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for member in self.declared(object) {
            rows.push(self.row("", member));
            let shape = self.document.shape(member.schema);
            let list = if shape.is_list { "[]" } else { "" };
            for inner in self.inlined(&shape).into_iter().flat_map(|inner| self.declared(inner)) {
                rows.push(self.row(&format!("{}{list}.", member.name), inner));
            }
        }
        rows
    }

    fn row(&self, before: &str, member: Member<'a>) -> Vec<String> {
        // Where a member may be absent, null is the same.
        let nullable = member.required && self.document.choice(member.schema).1;
        let words = self.words(member.schema);
        vec![
            code(format!("{before}{}", member.name)),
            if nullable { format!("{words} or null") } else { words },
            yes_or_no(member.required),
            self.meaning(member.schema),
        ]
    }

    /// What the type of a value is, with a link where it has a section.
    pub(super) fn words(&self, schema: &'a Value) -> String {
        let shape = self.document.shape(schema);
        match shape.object.and_then(|object| object.name).filter(|name| self.sections.contains(name)) {
            Some(name) if shape.is_list => format!("list of [{name}](#{})", anchor(name)),
            Some(name) => format!("[{name}](#{})", anchor(name)),
            None => shape.words,
        }
    }

    /// What a value means: at the member, or at a choice of it, or else at its type.
    fn meaning(&self, schema: &'a Value) -> String {
        let choices = alternatives(schema).chain([self.document.choice(schema).0.value]);
        let mut told = [schema].into_iter().chain(choices).map(|schema| text(schema, "description"));
        let meaning = told.find(|told| !told.is_empty()).unwrap_or_default();
        match schema.get("default") {
            Some(default) if !default.is_null() => format!("{meaning} Default: `{default}`."),
            _ => meaning.to_owned(),
        }
    }

    /// The object whose members are rows of the table that it stands in.
    fn inlined(&self, shape: &Shape<'a>) -> Option<&'a Value> {
        let object = shape.object?;
        object.name.is_none_or(|name| !self.sections.contains(name)).then_some(object.value)
    }

    fn declared(&self, object: &'a Value) -> Vec<Member<'a>> {
        let object = self.document.follow(object).value;
        let required = items(object, "required");
        let mut members: Vec<_> = entries(object, "properties")
            .map(|(name, schema)| Member { name, schema, required: required.iter().any(|is| is == name) })
            .collect();
        members.sort_by_key(|member| !member.required);
        members
    }

    /// The objects that stand in more than one place.
    fn repeated(&self, roots: &[&'a Value]) -> BTreeSet<&'a str> {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut seen = roots.to_vec();
        while let Some(object) = seen.pop() {
            for member in self.declared(object) {
                let Some(object) = self.document.shape(member.schema).object else { continue };
                let Some(name) = object.name else { continue };
                let place = places.entry(name).or_default();
                *place += 1;
                if *place == 1 {
                    seen.push(object.value);
                }
            }
        }
        places.into_iter().filter(|(_, places)| *places > 1).map(|(name, _)| name).collect()
    }

    /// An object that would stand two levels deep in a table.
    fn deep(&self, roots: &[&'a Value]) -> Option<&'a str> {
        let tables = roots.iter().copied().chain(self.sections().map(|(_, object)| object));
        let first = tables.flat_map(|table| self.declared(table));
        let inlined = first.filter_map(|member| self.inlined(&self.document.shape(member.schema)));
        let second = inlined.flat_map(|object| self.declared(object));
        second
            .filter_map(|member| self.document.shape(member.schema).object?.name)
            .find(|name| !self.sections.contains(name))
    }
}

#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    schema: &'a Value,
    required: bool,
}

/// A cell.
pub(super) fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}
