//! How a section of a policy is declared: each field once, with its type and the rule by which it is inherited.
//!
//! Format pages 22 §2.1 (rules) and §4 (JSON). [`section!`] makes of one declaration
//!
//! - the struct as it is stored: fields in the order declared, unset ones left out, unknown keys ignored, `null` read as unset (as
//!   Go does);
//! - a struct of the same shape that holds, for each field, the target whose policy defined it;
//! - `inherit`, which fills in what is unset from a less specific policy and records where it came from.
//!
//! The rules, named after `=>`:
//!
//! | rule | a less specific policy |
//! |---|---|
//! | `first` | gives the value if none is set yet. Zero, `false` and empty are *unset*, unless the type is `Option` |
//! | `union(stop)` | adds its items, until a policy that has the flag `stop` |
//! | `times(stop)` | as `union`, but it is named as the definition even where it no longer adds |
//! | `own` | gives nothing |
//! | `section(D)` | is asked field by field; `D` holds the definitions |
//!
//! A flag is declared after the list that it stops, and so takes effect below the policy that sets it.

use serde::{Deserialize, Deserializer};

use super::SourceInfo;

/// A value that knows whether it was set; unset values are not stored.
pub(super) trait Setting {
    fn is_unset(&self) -> bool;
}

impl<T> Setting for Option<T> {
    fn is_unset(&self) -> bool {
        self.is_none()
    }
}

impl<T> Setting for Vec<T> {
    fn is_unset(&self) -> bool {
        self.is_empty()
    }
}

impl Setting for String {
    fn is_unset(&self) -> bool {
        self.is_empty()
    }
}

impl Setting for i64 {
    fn is_unset(&self) -> bool {
        *self == 0
    }
}

impl Setting for bool {
    fn is_unset(&self) -> bool {
        !self
    }
}

/// Reads `null` as unset.
pub(super) fn null_as_unset<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Takes over `from` where nothing is set.
pub(super) fn inherit_first<T: Setting + Clone>(
    value: &mut T,
    from: &T,
    target: &SourceInfo,
    definition: &mut SourceInfo,
) {
    if value.is_unset() && !from.is_unset() {
        value.clone_from(from);
        definition.clone_from(target);
    }
}

/// Adds the items of `from`, sorted and unique.
pub(super) fn inherit_union<T: Ord + Clone>(
    value: &mut Vec<T>,
    from: &[T],
    target: &SourceInfo,
    definition: &mut SourceInfo,
) {
    if !from.is_empty() {
        value.extend_from_slice(from);
        value.sort();
        value.dedup();
        definition.clone_from(target);
    }
}

macro_rules! section {
    ($(#[$about:meta])* $name:ident, $definition:ident {
        $($(#[$field_about:meta])* $field:ident: $type:ty => $rule:ident $(($argument:ident))?,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_about])*
            #[serde(
                skip_serializing_if = "crate::policy::section::Setting::is_unset",
                deserialize_with = "crate::policy::section::null_as_unset"
            )]
            pub $field: $type,)*
        }

        #[doc = concat!("Where each field of an effective [`", stringify!($name), "`] was defined; global where none was.")]
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $definition {
            $($(#[$field_about])*
            pub $field: $crate::policy::section::definition_type!($rule $($argument)?),)*
        }

        impl $crate::policy::section::Setting for $name {
            // Sections are stored even when nothing in them is set.
            fn is_unset(&self) -> bool {
                false
            }
        }

        impl $name {
            pub(super) fn inherit(&mut self, from: &Self, target: &SourceInfo, definition: &mut $definition) {
                $($crate::policy::section::inherit_by!(
                    $rule $($argument)?, self, &from.$field, target, &mut definition.$field, $field
                );)*
            }
        }
    };
}

macro_rules! definition_type {
    (section $definition:ident) => {
        $definition
    };
    ($rule:ident $($stop:ident)?) => {
        SourceInfo
    };
}

macro_rules! inherit_by {
    (first, $self:ident, $from:expr, $target:ident, $definition:expr, $field:ident) => {
        $crate::policy::section::inherit_first(&mut $self.$field, $from, $target, $definition)
    };
    (union $stop:ident, $self:ident, $from:expr, $target:ident, $definition:expr, $field:ident) => {
        if !$self.$stop {
            $crate::policy::section::inherit_union(&mut $self.$field, $from, $target, $definition);
        }
    };
    (times $stop:ident, $self:ident, $from:expr, $target:ident, $definition:expr, $field:ident) => {
        if !$self.$stop {
            $crate::policy::section::inherit_union(&mut $self.$field, $from, $target, $definition);
        } else if !$from.is_empty() {
            $definition.clone_from($target);
        }
    };
    (own, $self:ident, $from:expr, $target:ident, $definition:expr, $field:ident) => {};
    (section $type:ident, $self:ident, $from:expr, $target:ident, $definition:expr, $field:ident) => {
        $self.$field.inherit($from, $target, $definition)
    };
}

pub(super) use {definition_type, inherit_by, section};
