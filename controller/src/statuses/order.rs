//! In which order statuses are listed: fields one after the other, each in either direction. A status's place is a text that sorts
//! as it should, so that a page can go on behind it at any replica.

use twinlog_proto::v1::MirrorStatus;

use super::Field;

/// Always ends with the mirror's name, so that no two are at one place.
pub(super) struct Order(Vec<(Field, Direction)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

impl Order {
    /// Says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut fields: Vec<(Field, Direction)> = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let mut words = part.split_whitespace();
            let name = words.next().unwrap_or_default();
            let field = Field::parse(name).filter(|field| *field != Field::Reason).ok_or_else(|| {
                format!(
                    "{name:?} is no field to order by: mirror, source, target, state and totals.lag_records are"
                )
            })?;
            let direction = match (words.next(), words.next()) {
                (None, _) => Direction::Ascending,
                (Some("desc"), None) => Direction::Descending,
                _ => {
                    return Err(format!("{:?} is not understood: write {name} or {name} desc", part.trim()));
                }
            };
            if fields.iter().any(|(known, _)| *known == field) {
                return Err(format!("{name} is there twice: name it once"));
            }
            fields.push((field, direction));
        }
        if fields.iter().all(|(field, _)| *field != Field::Mirror) {
            fields.push((Field::Mirror, Direction::Ascending));
        }
        Ok(Self(fields))
    }

    /// No status is needed to order by it.
    pub(super) fn is_of_names(&self) -> bool {
        self.0.iter().all(|(field, _)| field.is_a_name())
    }

    pub(super) fn key(&self, status: &MirrorStatus) -> String {
        let part = |(field, direction): &(Field, Direction)| match field {
            Field::Mirror => name(&status.mirror, *direction),
            Field::Source => name(&status.source, *direction),
            Field::Target => name(&status.target, *direction),
            Field::State => number(i64::from(status.state), *direction),
            // No order is made of it.
            Field::Reason => String::new(),
            Field::Lag => match status.totals.and_then(|totals| totals.lag_records) {
                Some(lag) => format!("0{}", number(lag, *direction)),
                None => "1".to_owned(),
            },
        };
        self.0.iter().map(part).collect()
    }
}

/// Names hold characters above the blank and below `~`: what follows these is longer.
fn name(name: &str, direction: Direction) -> String {
    match direction {
        Direction::Ascending => format!("{name} "),
        Direction::Descending => {
            name.bytes().map(|byte| char::from(0x7f_u8.saturating_sub(byte))).chain(['~']).collect()
        }
    }
}

fn number(number: i64, direction: Direction) -> String {
    let number = number.max(0).unsigned_abs();
    match direction {
        Direction::Ascending => format!("{number:020}"),
        Direction::Descending => format!("{:020}", u64::MAX - number),
    }
}
