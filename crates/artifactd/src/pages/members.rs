//! [`MemberTables`]: the members of JSON objects as rows of tables, with type and meaning. An object that is used in
//! several places, or nested more than one level deep, has a section of its own. This module must never know which
//! method uses an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::{Document, entries, items, text};
use super::markdown::{anchor, code, yes_or_no};
use super::types::{SchemaType, alternatives};

/// The tables of members, and the objects that have a section of their own.
#[derive(Debug)]
pub(super) struct MemberTables<'a> {
    document: &'a Document,
    /// The names of the objects that have a section.
    sections: BTreeSet<&'a str>,
}

impl<'a> MemberTables<'a> {
    /// The tables of all objects that can be reached from `roots`. Each root has a table of its own. Finds the objects
    /// that need a section.
    pub(super) fn new(document: &'a Document, roots: &[&'a Value]) -> Self {
        let mut tables = Self { document, sections: BTreeSet::new() };
        tables.sections = tables.reused_objects(roots);
        // The table of a new section can contain further deeply nested objects. So the loop runs until there are none.
        while let Some(name) = tables.find_deeply_nested(roots) {
            tables.sections.insert(name);
        }
        tables
    }

    /// The objects that have a section, sorted by name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.sections.iter().filter_map(|name| Some((*name, self.document.schema(name)?)))
    }

    /// The rows of an object, one for each member: name, type, whether the member is required, meaning. A member can be
    /// an object, or a list of objects, that has no section. After the row of such a member, the rows of the members of
    /// that object follow. Objects inside that object get no such rows.
    pub(super) fn rows(&self, object: &'a Value) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for member in self.declared_members(object) {
            rows.push(self.row("", member));
            let member_type = self.document.schema_type(member.schema);
            let Some(inner_object) = self.object_without_section(&member_type) else { continue };
            let list_suffix = if member_type.is_list { "[]" } else { "" };
            for inner in self.declared_members(inner_object) {
                rows.push(self.row(&format!("{}{list_suffix}.", member.name), inner));
            }
        }
        rows
    }

    /// The row of a member, with `prefix` before the name of the member.
    fn row(&self, prefix: &str, member: Member<'a>) -> Vec<String> {
        let (_, is_nullable) = self.document.non_null_schema(member.schema);
        // For a member that may be absent, null means absent. So only the type of a required member mentions null.
        let shows_null = member.required && is_nullable;
        let type_text = self.type_text(member.schema);
        vec![
            code(format!("{prefix}{}", member.name)),
            if shows_null { format!("{type_text} or null") } else { type_text },
            yes_or_no(member.required),
            self.meaning(member.schema),
        ]
    }

    /// The type of a value as text, with a link if the type has a section.
    pub(super) fn type_text(&self, schema: &'a Value) -> String {
        let value_type = self.document.schema_type(schema);
        let object_name = value_type.object.and_then(|object| object.name);
        match object_name.filter(|name| self.sections.contains(name)) {
            Some(name) if value_type.is_list => format!("list of [{name}](#{})", anchor(name)),
            Some(name) => format!("[{name}](#{})", anchor(name)),
            None => value_type.text,
        }
    }

    /// The meaning of a value, then its default, if there is one. The meaning is the first description that is not
    /// empty. The schema is searched first, then its alternatives, then the schema without null.
    fn meaning(&self, schema: &'a Value) -> String {
        let (non_null, _) = self.document.non_null_schema(schema);
        let schemas = [schema].into_iter().chain(alternatives(schema)).chain([non_null.value]);
        let mut descriptions = schemas.map(|schema| text(schema, "description"));
        let meaning = descriptions.find(|description| !description.is_empty()).unwrap_or_default();
        match schema.get("default") {
            Some(default) if !default.is_null() => format!("{meaning} Default: `{default}`."),
            _ => meaning.to_owned(),
        }
    }

    /// The object of a type if it has no section. Its members are rows of the surrounding table. `None` if the type is
    /// neither an object nor a list of objects, or if the object has a section.
    fn object_without_section(&self, member_type: &SchemaType<'a>) -> Option<&'a Value> {
        let object = member_type.object?;
        object.name.is_none_or(|name| !self.sections.contains(name)).then_some(object.value)
    }

    /// The members that an object declares. The required members come first.
    fn declared_members(&self, object: &'a Value) -> Vec<Member<'a>> {
        let object = self.document.resolve(object).value;
        let required = items(object, "required");
        let mut members: Vec<_> = entries(object, "properties")
            .map(|(name, schema)| Member { name, schema, required: required.iter().any(|item| item == name) })
            .collect();
        members.sort_by_key(|member| !member.required);
        members
    }

    /// The names of the objects that are used in more than one place. All objects that can be reached from `roots` are
    /// searched.
    fn reused_objects(&self, roots: &[&'a Value]) -> BTreeSet<&'a str> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        let mut unvisited = roots.to_vec();
        while let Some(parent) = unvisited.pop() {
            for member in self.declared_members(parent) {
                let Some(object) = self.document.schema_type(member.schema).object else { continue };
                let Some(name) = object.name else { continue };
                let count = uses.entry(name).or_default();
                *count += 1;
                let is_first_use = *count == 1;
                if is_first_use {
                    unvisited.push(object.value);
                }
            }
        }
        uses.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
    }

    /// Returns the name of an object that is nested two levels deep in a table and has no section. A table shows only
    /// one level of nested objects. `None` if there is no such object.
    fn find_deeply_nested(&self, roots: &[&'a Value]) -> Option<&'a str> {
        let tables = roots.iter().copied().chain(self.sections().map(|(_, object)| object));
        let members = tables.flat_map(|table| self.declared_members(table));
        let inlined = members
            .filter_map(|member| self.object_without_section(&self.document.schema_type(member.schema)));
        let inner_members = inlined.flat_map(|object| self.declared_members(object));
        inner_members
            .filter_map(|member| self.document.schema_type(member.schema).object?.name)
            .find(|name| !self.sections.contains(name))
    }
}

/// A member that an object declares.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    schema: &'a Value,
    /// Whether the object must have the member.
    required: bool,
}
