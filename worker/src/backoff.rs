//! A pause that doubles up to a limit, with jitter, so that many who wait don't come back together.

use std::time::Duration;

use rand::Rng;

#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// Between half of the present pause and all of it; the following one is twice as long.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_limit_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        for full in [100, 200, 400, 500, 500] {
            let pause = backoff.pause();
            assert!(pause >= ms(full) / 2 && pause <= ms(full), "{pause:?} for {full} ms");
        }
        backoff.reset();
        assert!(backoff.pause() <= ms(100));
    }
}
