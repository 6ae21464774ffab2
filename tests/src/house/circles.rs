//! Circles among rooms.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::{Arrows, Place};

/// Rooms that use each other.
#[derive(Debug)]
pub struct Circle {
    /// The module in which they lie.
    pub of: String,
    /// All that stand in it, in the order of their names.
    pub rooms: Vec<String>,
    /// One way round, as short as any: who uses what of whom.
    pub steps: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} modules of {} use each other in a circle: {}",
            self.rooms.len(),
            self.of,
            self.rooms.join(", ")
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

type Rooms<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<String>>>;

/// Every circle, at every level.
pub(super) fn of(arrows: &Arrows) -> Vec<Circle> {
    let mut levels: BTreeMap<&[String], Rooms<'_>> = BTreeMap::new();
    for ((from, to), names) in arrows {
        let Some((level, a, b)) = rooms(from, to) else { continue };
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let step = format!("{} uses {}: {names}", from.file, to.file);
        levels.entry(level).or_default().entry(a).or_default().entry(b).or_default().push(step);
    }
    levels.iter().flat_map(|(level, rooms)| within(level, rooms)).collect()
}

/// The module in which both lie, and the rooms of it. `None`: one lies in the other.
fn rooms<'a>(from: &'a Place, to: &'a Place) -> Option<(&'a [String], &'a str, &'a str)> {
    let common = from.path.iter().zip(&to.path).take_while(|(a, b)| a == b).count();
    Some((&from.path[..common], from.path.get(common)?, to.path.get(common)?))
}

fn within(level: &[String], rooms: &Rooms<'_>) -> Vec<Circle> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        rooms.keys().map(|room| (*room, reached(rooms, room))).collect();
    let mutual = |a: &str, b: &str| reach[a].contains(b) && reach.get(b).is_some_and(|back| back.contains(a));
    let mut circles: Vec<Circle> = Vec::new();
    for room in rooms.keys().filter(|room| reach[*room].contains(*room)) {
        if circles.iter().any(|circle| circle.rooms.iter().any(|known| known == room)) {
            continue;
        }
        let all: Vec<&str> = rooms.keys().copied().filter(|other| mutual(room, other)).collect();
        let shortest =
            all.iter().filter_map(|begin| round(rooms, begin)).min_by_key(Vec::len).unwrap_or_default();
        let steps = shortest.windows(2).flat_map(|pair| rooms[pair[0]][pair[1]].iter().cloned()).collect();
        let of = if level.is_empty() { "the crate".to_owned() } else { level.join("::") };
        circles.push(Circle { of, rooms: all.into_iter().map(str::to_owned).collect(), steps });
    }
    circles
}

fn next<'a, 'r>(rooms: &'r Rooms<'a>, room: &str) -> impl Iterator<Item = &'a str> + use<'a, 'r> {
    rooms.get(room).into_iter().flat_map(|to| to.keys().copied())
}

/// Every room that can be reached from here by an arrow at least.
fn reached<'a>(rooms: &Rooms<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut ahead: Vec<&str> = next(rooms, from).collect();
    while let Some(room) = ahead.pop() {
        if seen.insert(room) {
            ahead.extend(next(rooms, room));
        }
    }
    seen
}

/// The shortest way from a room back to it.
fn round<'a>(rooms: &Rooms<'a>, begin: &'a str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = VecDeque::from([vec![begin]]);
    while let Some(way) = ways.pop_front() {
        for room in next(rooms, way.last()?) {
            let further = [way.as_slice(), &[room]].concat();
            if room == begin {
                return Some(further);
            }
            if seen.insert(room) {
                ways.push_back(further);
            }
        }
    }
    None
}
