//! Define: one client of a set, for a command line: looked after alone, or working while the others only store.

use super::{ClientsBuilder, Member};
use crate::builder::{Builder, variables_of};
use crate::error::Error;

impl ClientsBuilder {
    /// The client of this name, to be opened without the others by one who runs no body.
    pub(crate) fn alone(mut self, place: &str, name: &str) -> Result<Builder, Error> {
        self.check_names()?;
        self.check_definitions()?;
        self.checked_routes()?;
        let at = self.place_of(place, name)?;
        let prefixes: Vec<String> = self.names().map(variables_of).collect();
        let Member { name, path, mut builder } = self.members.swap_remove(at);
        if let Some(variables) = self.environment.filter(|_| !builder.has_environment()) {
            builder = builder.environment(variables);
        }
        Ok(builder.member(&name, path, prefixes))
    }

    /// What the environment says to the client of this name, by a word, with the whole name of the variable.
    pub(crate) fn variable(
        &self,
        place: &str,
        name: &str,
        word: &str,
    ) -> Result<Option<(String, String)>, Error> {
        let builder = &self.members[self.place_of(place, name)?].builder;
        let name = format!("{}{word}", variables_of(name));
        let of_all = self.environment.as_ref().filter(|_| !builder.has_environment());
        let Some(pairs) = of_all else { return builder.variable_called(name) };
        let pair = pairs.iter().find(|(known, value)| *known == name && !value.is_empty());
        Ok(pair.cloned())
    }

    /// Makes of the client of this name what is said, and lets the others only store, whatever their settings say.
    pub(crate) fn working(
        mut self,
        place: &str,
        name: &str,
        change: impl FnOnce(Builder) -> Result<Builder, Error>,
    ) -> Result<Self, Error> {
        let at = self.place_of(place, name)?;
        let others = self.members.into_iter().map(|member| match &member.name {
            one if one == name => member,
            _ => Member { builder: member.builder.for_neighbour(), ..member },
        });
        self.members = others.collect();
        let Member { name, path, builder } = self.members.swap_remove(at);
        self.members.push(Member { name, path, builder: change(builder)? });
        Ok(self)
    }
}
