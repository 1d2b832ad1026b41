//! Keeps templates from building values without end.
//!
//! A namespace is the one thing a template can change, so it is the one way to make a value that holds itself, or one
//! that grows deeper with every turn of a loop. The engine walks values by recursion (to show, compare and drop them)
//! and would run off the stack. Every value on its way into a namespace therefore passes this filter.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value as Item};

/// The name of the filter.
pub(super) const GUARD: &str = "checked_for_namespace";

/// Levels of a value in a namespace; JSON requests have fewer.
const DEPTH: usize = 160;

/// The value itself, if it is shallow and holds no namespace.
pub(super) fn guard(state: &State, value: Item) -> Result<Item, Error> {
    // An iterable may be readable only once: keep what was read.
    let value = match value.kind() {
        ValueKind::Iterable => Item::from(value.try_iter()?.collect::<Vec<Item>>()),
        _ => value,
    };
    Guard { state }.check(&value, 0)?;
    Ok(value)
}

/// Pays for all parts of a value before they are walked where the engine would not count them. A value that holds the
/// same part many times over costs as often.
pub(super) fn pay_for(state: &State, value: &Item) -> Result<(), Error> {
    state.consume_fuel(1)?;
    match value.kind() {
        ValueKind::Seq => value.try_iter()?.try_for_each(|item| pay_for(state, &item)),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            pay_for(state, &key)?;
            pay_for(state, &value.get_item(&key)?)
        }),
        _ => Ok(()),
    }
}

struct Guard<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
}

impl Guard<'_, '_, '_> {
    fn check(&self, value: &Item, depth: usize) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
        if depth > DEPTH {
            return refuse("a value in a namespace is nested too deeply");
        }
        self.state.consume_fuel(1)?;
        if value.as_object().is_some_and(|object| object.type_name().contains("amespace")) {
            return refuse("a namespace cannot hold a namespace");
        }
        match value.kind() {
            ValueKind::Seq => {
                for item in value.try_iter()? {
                    self.check(&item, depth + 1)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    self.check(&key, depth + 1)?;
                    self.check(&value.get_item(&key)?, depth + 1)?;
                }
            }
            ValueKind::Iterable => return refuse("a list in a namespace holds an iterator"),
            _ => {}
        }
        Ok(())
    }
}
