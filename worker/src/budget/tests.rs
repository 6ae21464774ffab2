//! Ranges that need more than there is: bounded at any moment, and all of them served.

use super::*;

const MIB: u64 = 1 << 20;

fn seats(budget: &Arc<Budget>, count: usize) -> Vec<(Seat, Arc<Turn>)> {
    let one = |_| {
        let turn = Arc::new(Turn::default());
        (budget.join(turn.clone()), turn)
    };
    (0..count).map(one).collect()
}

#[test]
fn shares_never_exceed_the_bound_and_come_back() {
    let budget = Budget::new(256 * MIB);
    let all = seats(&budget, 400);
    let mut running = 0;
    for (seat, _) in &all {
        if let Ok(share) = seat.ask(0) {
            assert!((MIN_SHARE_BYTES..=MAX_SHARE_BYTES).contains(&share));
            running += 1;
        }
        assert!(budget.reserved() <= budget.bytes());
    }
    assert_eq!(running, 256, "400 ranges know of each other: each gets the smallest share");
    let crowd = all[399].0.ask(0).expect_err("there is nothing left");
    assert_eq!((crowd.limit, crowd.running, crowd.ranges), (Limit::Memory, 256, 400));
    drop(all);
    assert_eq!(budget.reserved(), 0);
}

#[test]
fn one_range_runs_however_little_there_is() {
    let budget = Budget::with_descriptors(1, 1);
    let all = seats(&budget, 2);
    assert!(all[0].0.ask(20).is_ok());
    assert!(all[1].0.ask(20).is_err());
}

/// All copy all the time: each range gets its turn, within as many rounds as there are ranges for one place.
#[test]
fn nobody_waits_for_ever() {
    let budget = Budget::with_descriptors(4 * MIB, 1000);
    let all = seats(&budget, 30);
    let (mut now, mut served) = (Instant::now(), [0_u32; 30]);
    for _ in 0..200 {
        now += Duration::from_secs(1);
        for (at, (seat, turn)) in all.iter().enumerate() {
            if turn.is_over() {
                seat.release_at(now);
            }
            if seat.ask_at(10, now).is_ok() {
                served[at] += 1;
            }
        }
        assert!(budget.reserved() <= budget.bytes());
    }
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(*least >= 10 && *most <= 4 * least, "{served:?}");
}

#[test]
fn who_has_nothing_to_copy_gives_way_at_once() {
    let budget = Budget::with_descriptors(64 * MIB, 40);
    let all = seats(&budget, 3);
    let now = Instant::now();
    all[0].0.ask_at(20, now).unwrap();
    all[1].0.ask_at(20, now).unwrap();
    all[1].1.set_idle(true);
    let later = Instant::now() + Duration::from_secs(2);
    let crowd = all[2].0.ask_at(20, later).expect_err("two fit");
    assert_eq!((crowd.limit, crowd.allowed, crowd.each), (Limit::Descriptors, 40, 20));
    assert!(!all[0].1.is_over() && all[1].1.is_over(), "the one that copies goes on");
    all[1].0.release();
    assert!(all[2].1.is_granted() && all[2].0.ask_at(20, later).is_ok());
    assert!(!all[1].0.take_if_free(20), "no room for the one that rests");
    all[0].0.release();
    assert!(all[1].0.take_if_free(20));
}

/// The first ranges took much before the others came: with the defaults, 182 of 300 got nothing at all.
#[test]
fn large_shares_shrink_until_all_fit() {
    let budget = Budget::new(512 * MIB);
    let mut all = Vec::new();
    for _ in 0..300 {
        all.extend(seats(&budget, 1));
        let _ = all[all.len() - 1].0.ask(0);
    }
    assert!(all.iter().filter(|(seat, _)| seat.ask(0).is_ok()).count() < 300, "not at once");
    let mut now = Instant::now();
    let mut running = 0;
    for _ in 0..60 {
        now += Duration::from_secs(1);
        running = 0;
        for (seat, turn) in &all {
            if turn.is_over() {
                seat.release_at(now);
            }
            running += usize::from(seat.ask_at(0, now).is_ok());
        }
    }
    assert_eq!(running, 300);
}

#[test]
fn the_message_names_needed_allowed_and_the_remedy() {
    let crowd = Crowd { limit: Limit::Descriptors, running: 9, ranges: 100, allowed: 170, each: 18 };
    let text = crowd.to_string();
    assert!(text.contains("1800") && text.contains("170") && text.contains("ulimit -n"), "{text}");
    assert_eq!(crowd.reason().as_str(), "DESCRIPTORS_LIMIT");
    let crowd = Crowd { limit: Limit::Memory, running: 9, ranges: 100, allowed: 8 * MIB, each: MIB };
    let text = crowd.to_string();
    assert!(text.contains("100 MiB") && text.contains("8 MiB") && text.contains("--memory 128MiB"), "{text}");
    assert_eq!(crowd.reason().as_str(), "MEMORY_LIMIT");
}
