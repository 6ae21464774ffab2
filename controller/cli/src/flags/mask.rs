//! Which fields flags change: the update mask, and the flag of each field.

/// A field of a mirror, and the flag that says it: `("topic_creation.enabled", "--create-topics")`.
pub(crate) type Field = (&'static str, &'static str);

/// The mask as flags are applied to a mirror.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    /// Every field that has a flag.
    fields: Vec<Field>,
    /// The given ones.
    given: Vec<&'static str>,
}

impl Mask {
    /// A field becomes what was given for it.
    pub(crate) fn set<T>(&mut self, field: Field, given: Option<T>, place: &mut T) {
        if let Some(given) = self.note(field, given) {
            *place = given;
        }
    }

    /// As `set`, in a message that is made for it where there is none.
    pub(crate) fn within<T, M: Default>(
        &mut self,
        field: Field,
        given: Option<T>,
        message: &mut Option<M>,
        place: impl FnOnce(&mut M) -> &mut T,
    ) {
        if let Some(given) = self.note(field, given) {
            *place(message.get_or_insert_default()) = given;
        }
    }

    fn note<T>(&mut self, field: Field, given: Option<T>) -> Option<T> {
        self.fields.push(field);
        if given.is_some() {
            self.given.push(field.0);
        }
        given
    }

    /// What was given, as an update's mask: whole fields of the mirror.
    pub(crate) fn changed(&self) -> Vec<&'static str> {
        whole(self.given.iter().copied())
    }

    /// Every field that has a flag, whether it was given or not.
    pub(crate) fn known(&self) -> Vec<&'static str> {
        whole(self.fields.iter().map(|(path, _)| *path))
    }

    /// Every field that has a flag, with it.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }
}

/// The flag for a field as refusals name it: `topics[3]`, `labels.team`.
pub(crate) fn flag_of(fields: &[Field], field: &str) -> Option<&'static str> {
    let is_of = |path: &str| {
        field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let fits = fields.iter().filter(|(path, _)| is_of(path));
    fits.max_by_key(|(path, _)| path.len()).map(|(_, flag)| *flag)
}

/// Each field of the mirror once, in this order.
fn whole(paths: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut found = Vec::new();
    for path in paths {
        let first = path.split('.').next().unwrap_or(path);
        if !found.contains(&first) {
            found.push(first);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_what_was_given_and_each_flag_its_fields() {
        let (mut topics, mut start) = (vec![1], None::<(i32, i32)>);
        let mut mask = Mask::default();
        mask.set(("topics", "--topics"), None, &mut topics);
        mask.within(("start", "--start"), Some(2), &mut start, |start| &mut start.0);
        mask.within(("start.group", "--start-group"), Some(3), &mut start, |start| &mut start.1);
        assert_eq!((topics, start), (vec![1], Some((2, 3))));
        assert_eq!((mask.changed(), mask.known()), (vec!["start"], vec!["topics", "start"]));
        for (field, flag) in [
            ("topics[3]", Some("--topics")),
            ("topics_exclude[0]", None),
            ("start.group", Some("--start-group")),
            ("start.timestamp", Some("--start")),
            ("", None),
        ] {
            assert_eq!(flag_of(mask.fields(), field), flag, "{field}");
        }
    }
}
