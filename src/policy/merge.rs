//! The policy that applies to a source, made of all that cover it.
//!
//! Format page 22 §2.1. The policies are walked from the source's own to the global one and the built-in defaults, each filling in
//! what is unset so far; the rule of each field is declared with it, in `model.rs`. A policy with `noParent` ends the walk, and with
//! it fall the built-in defaults and the commands around the folder.

use super::{Policy, PolicyDefinition, SourceInfo};

/// A merged policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// The values in force.
    pub policy: Policy,
    /// The target whose policy gave each of them.
    pub definition: PolicyDefinition,
}

/// Merges policies, given from the source's own to the least specific.
pub fn merge<'a>(policies: impl IntoIterator<Item = (&'a SourceInfo, &'a Policy)>) -> EffectivePolicy {
    let mut merged = EffectivePolicy::default();
    let mut own_actions = None;
    for (target, policy) in policies {
        merged.policy.inherit(policy, target, &mut merged.definition);
        if policy.no_parent {
            return merged;
        }
        own_actions.get_or_insert((target, &policy.actions));
    }
    merged.policy.inherit(&Policy::default_global(), &SourceInfo::global(), &mut merged.definition);
    if let Some((target, actions)) = own_actions {
        let (before, after) = (&actions.before_folder, &actions.after_folder);
        merged.policy.actions.before_folder.clone_from(before);
        merged.policy.actions.after_folder.clone_from(after);
        if before.is_some() {
            merged.definition.actions.before_folder.clone_from(target);
        }
        if after.is_some() {
            merged.definition.actions.after_folder.clone_from(target);
        }
    }
    merged
}

/// The policy in force for a target, of all the policies stored. Of several for one target the newest come first.
pub fn effective_policy(target: &SourceInfo, stored: &[(SourceInfo, Policy)]) -> EffectivePolicy {
    let none = Policy::default();
    // Takes the place of the target's own, so that the commands around the folder are not a parent's.
    let own = stored.iter().all(|(of, _)| of != target).then_some((target, &none));
    let parents = target.parents();
    let hierarchy = std::iter::once(target)
        .chain(&parents)
        .flat_map(|level| stored.iter().filter(move |(of, _)| of == level))
        .map(|(of, policy)| (of, policy));
    merge(own.into_iter().chain(hierarchy))
}

#[cfg(test)]
mod tests;
