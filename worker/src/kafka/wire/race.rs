//! Several addresses of the same thing, tried side by side: one that is silent doesn't hold up the others.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// The next address is tried when those before have not answered for so long.
const STAGGER: Duration = Duration::from_millis(250);

/// The first success. The tries begin one after the other: at once where the one before failed, after a moment where it is
/// silent. The others are given up.
///
/// # Errors
/// All of them failed: why, in the order of failing.
pub(in crate::kafka) async fn first<T, E, F: Future<Output = Result<T, E>>>(
    tries: impl IntoIterator<Item = F>,
) -> Result<T, Vec<E>> {
    let mut waiting = tries.into_iter().peekable();
    let (mut running, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        match waiting.next() {
            Some(next) => running.push(next),
            None if running.is_empty() => return Err(failures),
            None => {}
        }
        let is_last = waiting.peek().is_none();
        loop {
            tokio::select! {
                biased;
                Some(ended) = running.next() => match ended {
                    Ok(done) => return Ok(done),
                    Err(error) => failures.push(error),
                },
                () = tokio::time::sleep(STAGGER), if !is_last => break,
                else => break,
            }
            if !is_last || running.is_empty() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn answer(after_ms: u64, result: Result<u8, u8>) -> Result<u8, u8> {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        result
    }

    #[tokio::test]
    async fn a_silent_one_costs_a_moment_and_a_failed_one_nothing() {
        let silent = || answer(3_600_000, Ok(0));
        let begin = Instant::now();
        assert_eq!(first([silent(), silent(), answer(1, Ok(7))]).await, Ok(7));
        assert!(begin.elapsed() >= 2 * STAGGER && begin.elapsed() < 8 * STAGGER, "{:?}", begin.elapsed());

        let begin = Instant::now();
        assert_eq!(first([answer(0, Err(1)), answer(0, Err(2)), answer(0, Ok(3))]).await, Ok(3));
        assert!(begin.elapsed() < STAGGER, "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn an_early_one_that_is_slow_may_still_win() {
        assert_eq!(first([answer(300, Ok(1)), answer(3_600_000, Ok(2))]).await, Ok(1));
        assert_eq!(first([answer(300, Ok(1)), answer(0, Err(2))]).await, Ok(1));
    }

    #[tokio::test]
    async fn when_all_fail_all_say_why() {
        assert_eq!(first([answer(900, Err(1)), answer(0, Err(2))]).await, Err(vec![2, 1]));
        assert_eq!(first(Vec::<std::future::Ready<Result<u8, u8>>>::new()).await, Err(vec![]));
    }
}
