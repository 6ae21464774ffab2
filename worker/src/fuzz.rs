//! Decoders under attack, for tests: what is valid is changed, and whatever becomes of it, nothing panics, nothing takes long, and memory
//! stays in proportion to what came.
//!
//! Inputs that bring something new are kept and changed further. What was found once is in `found.hex` and is tried first. A run is short
//! and always the same, unless `TWINLOG_FUZZ_SECONDS` says how long each target is attacked: then it differs each time.

mod change;
mod dream;
mod memory;
mod random;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use dream::dream;
pub(crate) use random::Random;

/// Inputs of a short run, at most, and how long it may take.
const SHORT: (usize, Duration) = (20_000, Duration::from_secs(1));
/// Set to the seconds of a long run.
const SECONDS: &str = "TWINLOG_FUZZ_SECONDS";
/// An input takes longer only if something is wrong with it; the machine may be slow, and the build is not optimised.
const SLOW: Duration = Duration::from_secs(10);
/// Inputs that are changed further.
const KEPT: usize = 4_000;
/// No input is longer.
const LONGEST: usize = 64 << 10;
/// What was found: a target and an input in each line.
const FOUND: &str = include_str!("fuzz/found.hex");

/// A decoder, and what it is attacked with.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Valid inputs.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// The most memory that an input of so many bytes may take.
    pub(crate) memory: fn(usize) -> usize,
    /// Makes checksums right, so that what lies behind them is reached: done to most inputs.
    pub(crate) repair: Option<fn(&mut [u8])>,
}

/// Runs the attack. `decode` answers in a few words what became of an input: another answer is something new.
pub(crate) fn attack(target: Target, decode: impl Fn(&[u8]) -> String) {
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    let (inputs, time) = seconds.map_or(SHORT, |seconds| (usize::MAX, Duration::from_secs(seconds)));
    let seed = seconds.map_or(1, |_| rand::random());
    let (begun, random) = (Instant::now(), RefCell::new(Random::new(seed)));
    let mut run =
        Run { target, decode, seen: HashSet::new(), kept: Vec::new(), slowest: Duration::ZERO, most: 0 };
    for input in found(run.target.name) {
        run.tried(&input);
    }
    for seed in std::mem::take(&mut run.target.seeds) {
        run.tried(&seed);
        run.kept.push(seed);
    }
    let mut count = 0;
    while count < inputs && begun.elapsed() < time {
        let input = run.changed(&mut random.borrow_mut());
        if run.tried(&input) && run.kept.len() < KEPT {
            run.kept.push(input);
        }
        count += 1;
    }
    println!(
        "{}: {count} inputs in {:.1} s (seed {seed}), {} kinds of answers, the slowest took {:?}, the most memory was {} bytes",
        run.target.name,
        begun.elapsed().as_secs_f64(),
        run.seen.len(),
        run.slowest,
        run.most,
    );
}

struct Run<F> {
    target: Target,
    decode: F,
    seen: HashSet<u64>,
    kept: Vec<Vec<u8>>,
    slowest: Duration,
    most: usize,
}

impl<F: Fn(&[u8]) -> String> Run<F> {
    fn changed(&self, random: &mut Random) -> Vec<u8> {
        let mut input = self.kept[random.below(self.kept.len())].clone();
        for _ in 0..=random.below(4) {
            let other = &self.kept[random.below(self.kept.len())];
            change::change(&mut input, other, random);
        }
        input.truncate(LONGEST);
        if let Some(repair) = self.target.repair
            && random.below(4) > 0
        {
            repair(&mut input);
        }
        input
    }

    /// Whether the answer is a new one.
    fn tried(&mut self, input: &[u8]) -> bool {
        let begun = Instant::now();
        let (answer, memory) =
            memory::most(input, || catch_unwind(AssertUnwindSafe(|| (self.decode)(input))));
        let (took, bound) = (begun.elapsed(), (self.target.memory)(input.len()));
        self.slowest = self.slowest.max(took);
        self.most = self.most.max(memory);
        let Ok(answer) = answer else { self.fails(input, "panics") };
        if memory > bound {
            self.fails(input, &format!("takes {memory} bytes of memory, of at most {bound}"));
        }
        if took > SLOW {
            self.fails(input, &format!("takes {took:?}"));
        }
        let mut hasher = DefaultHasher::new();
        answer.bytes().filter(|byte| !byte.is_ascii_digit()).for_each(|byte| byte.hash(&mut hasher));
        memory.checked_ilog2().hash(&mut hasher);
        self.seen.insert(hasher.finish())
    }

    fn fails(&self, input: &[u8], what: &str) -> ! {
        let name = self.target.name;
        panic!("{name}: an input of {} bytes {what}. It is in {:?}", input.len(), save(name, input));
    }
}

/// A line for `found.hex`.
fn save(name: &str, input: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("twinlog-fuzz-{name}-{}.hex", std::process::id()));
    let mut line = format!("{name} ");
    for byte in input {
        write!(line, "{byte:02x}").expect("a text grows");
    }
    std::fs::write(&path, line + "\n").expect("the temporary folder can be written");
    path
}

fn found(name: &str) -> Vec<Vec<u8>> {
    let lines = FOUND.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(target, _)| *target == name).map(|(_, hex)| bytes(hex)).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}
