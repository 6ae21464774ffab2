//! Places items on workers: keep, place, even out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use twinlog_proto::reason::Reason;

use super::{Load, WorkerInput, WorkerState, is_eligible};

/// Two workers whose loads differ by less than one part in this many of the heavier one's are even.
const EVEN: u64 = 20;
/// Moves per item in one plan, at most: only a bound, every move makes the loads more even.
const MAX_MOVES_PER_ITEM: usize = 4;

pub(super) struct Item {
    /// Index of the placement that its worker must satisfy.
    pub(super) class: usize,
    pub(super) load: Load,
    /// `None`: new. `Some(None)`: its worker is gone.
    pub(super) current: Option<Option<usize>>,
}

struct Place<'a> {
    worker: &'a WorkerInput,
    load: u64,
    count: u32,
    capacity: u32,
    /// Per class: (load, item).
    items: Vec<BTreeSet<(u64, usize)>>,
}

pub(super) struct Board<'a> {
    places: Vec<Place<'a>>,
    items: Vec<Item>,
    at: Vec<Option<usize>>,
    /// Per class: workers that may get its items, by index.
    takers: Vec<Vec<usize>>,
    /// Per class: whether any worker at all carries the labels.
    matched: Vec<bool>,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        workers: &'a [WorkerInput],
        placements: &[&BTreeMap<String, String>],
        items: Vec<Item>,
        bounded: bool,
    ) -> Self {
        let places = workers.iter().map(|worker| Place {
            worker,
            load: 0,
            count: 0,
            capacity: worker.capacity.filter(|_| bounded).unwrap_or(u32::MAX),
            items: vec![BTreeSet::new(); placements.len()],
        });
        let matching = |placement: &&BTreeMap<String, String>| {
            (0..workers.len()).filter(|w| is_eligible(&workers[*w].labels, placement)).collect::<Vec<_>>()
        };
        let matching: Vec<Vec<usize>> = placements.iter().map(matching).collect();
        let ready = |w: &usize| workers[*w].state == WorkerState::Ready;
        Self {
            places: places.collect(),
            at: vec![None; items.len()],
            items,
            matched: matching.iter().map(|workers| !workers.is_empty()).collect(),
            takers: matching.into_iter().map(|workers| workers.into_iter().filter(ready).collect()).collect(),
        }
    }

    /// Decides for every item.
    pub(super) fn run(&mut self, rebalance: bool) -> Vec<Result<usize, Reason>> {
        let (orphans, evacuees) = self.keep();
        let lost = orphans.iter().any(|item| self.items[*item].current.is_some());
        for item in orphans {
            self.place(item);
        }
        for item in evacuees {
            let old = self.items[item].current.flatten().expect("an evacuee is on a draining worker");
            if !self.place(item) {
                self.put(item, old);
            }
        }
        if rebalance && !lost {
            self.even_out();
        }
        (0..self.items.len()).map(|item| self.at[item].ok_or_else(|| self.why_not(item))).collect()
    }

    /// Leaves items where they are, where they may stay. Returns those without a worker and those on draining workers, each
    /// in the order in which to place them: the hardest to place first, then the heaviest.
    fn keep(&mut self) -> (Vec<usize>, Vec<usize>) {
        let (mut orphans, mut evacuees) = (Vec::new(), Vec::new());
        for item in 0..self.items.len() {
            let Some(worker) = self.items[item].current.flatten() else {
                orphans.push(item);
                continue;
            };
            let class = self.items[item].class;
            let place = &self.places[worker];
            match place.worker.state {
                WorkerState::Waiting => self.put(item, worker),
                WorkerState::Draining => evacuees.push(item),
                WorkerState::Ready
                    if place.count < place.capacity && self.takers[class].binary_search(&worker).is_ok() =>
                {
                    self.put(item, worker);
                }
                WorkerState::Ready => orphans.push(item),
            }
        }
        for list in [&mut orphans, &mut evacuees] {
            list.sort_by_key(|item| {
                let Item { class, load, .. } = self.items[*item];
                (self.takers[class].len(), Reverse(load), *item)
            });
        }
        (orphans, evacuees)
    }

    fn place(&mut self, item: usize) -> bool {
        let class = self.items[item].class;
        let found = self.lightest(class).or_else(|| self.make_room(class));
        if let Some(worker) = found {
            self.put(item, worker);
        }
        found.is_some()
    }

    fn put(&mut self, item: usize, worker: usize) {
        let load = self.items[item].load.value();
        let place = &mut self.places[worker];
        place.load += load;
        place.count += 1;
        place.items[self.items[item].class].insert((load, item));
        self.at[item] = Some(worker);
    }

    fn shift(&mut self, item: usize, to: usize) {
        let from = self.at[item].expect("only placed items are shifted");
        let load = self.items[item].load.value();
        let place = &mut self.places[from];
        place.load -= load;
        place.count -= 1;
        place.items[self.items[item].class].remove(&(load, item));
        self.put(item, to);
    }

    fn has_room(&self, worker: usize) -> bool {
        self.places[worker].count < self.places[worker].capacity
    }

    /// The worker with the least load that may take an item of this class.
    fn lightest(&self, class: usize) -> Option<usize> {
        let room = self.takers[class].iter().copied().filter(|worker| self.has_room(*worker));
        room.min_by_key(|worker| (self.places[*worker].load, self.places[*worker].count, *worker))
    }

    /// All eligible workers are full: moves one item of another class from one of them to a worker that has room.
    fn make_room(&mut self, class: usize) -> Option<usize> {
        for full in self.takers[class].clone() {
            for other in (0..self.takers.len()).filter(|other| *other != class) {
                let Some((_, item)) = self.places[full].items[other].first().copied() else { continue };
                if let Some(elsewhere) = self.lightest(other) {
                    self.shift(item, elsewhere);
                    return Some(full);
                }
            }
        }
        None
    }

    /// Moves items from heavy to light workers as long as that evens them out.
    fn even_out(&mut self) {
        for _ in 0..self.items.len() * MAX_MOVES_PER_ITEM {
            let mut donors: Vec<usize> = (0..self.places.len())
                .filter(|worker| self.places[*worker].worker.state == WorkerState::Ready)
                .collect();
            donors.sort_by_key(|worker| (Reverse(self.places[*worker].load), *worker));
            match donors.into_iter().find_map(|donor| self.best_move(donor)) {
                Some((item, to)) => self.shift(item, to),
                None => return,
            }
        }
    }

    /// The move from this worker that evens out most, if any does.
    fn best_move(&self, donor: usize) -> Option<(usize, usize)> {
        let heavy = self.places[donor].load;
        let moves = (0..self.takers.len()).filter_map(|class| {
            let items = &self.places[donor].items[class];
            let to = if items.is_empty() { None } else { self.lightest(class) }?;
            let spread = heavy.saturating_sub(self.places[to].load);
            if spread <= heavy / EVEN {
                return None;
            }
            // Best is what takes neither worker past the mean, or a third would have to even that out again.
            let mean = self.mean(class);
            let gap = heavy.saturating_sub(mean).min(mean.saturating_sub(self.places[to].load));
            let at_most = |load: u64| items.range(..=(load, usize::MAX)).next_back();
            let (_, item) = at_most(gap).or_else(|| items.first().filter(|(load, _)| *load < spread))?;
            Some((spread, *item, to))
        });
        moves.max_by_key(|(spread, item, _)| (*spread, Reverse(*item))).map(|(_, item, to)| (item, to))
    }

    /// Mean load of the workers that may take a class.
    fn mean(&self, class: usize) -> u64 {
        let takers = &self.takers[class];
        takers.iter().map(|worker| self.places[*worker].load).sum::<u64>() / takers.len().max(1) as u64
    }

    fn why_not(&self, item: usize) -> Reason {
        let class = self.items[item].class;
        if self.places.is_empty() {
            Reason::NO_WORKER
        } else if !self.matched[class] || self.takers[class].is_empty() {
            Reason::NO_ELIGIBLE_WORKER
        } else {
            Reason::NO_CAPACITY
        }
    }
}
