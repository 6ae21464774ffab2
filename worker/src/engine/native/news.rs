//! Word for a task that may be asleep; the last one is that nobody needs it any more.

use std::sync::Arc;

use tokio::sync::Notify;

/// What its holders wake a task with. The task also wakes when this is dropped, so it has to be dropped after all that the task looks at.
pub(super) struct News(pub(super) Arc<Notify>);

impl Drop for News {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
