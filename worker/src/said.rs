//! What was said in the log, so that a trouble gives one line when it begins and one when it ends, however often it is met.

use twinlog_proto::reason::Reason;

/// The trouble that was said last and isn't over.
#[derive(Debug, Default)]
pub(crate) struct Said(Option<Reason>);

impl Said {
    /// True where this trouble is news.
    pub(crate) fn trouble(&mut self, reason: Reason) -> bool {
        self.0.replace(reason) != Some(reason)
    }

    /// True where a trouble is over that was said.
    pub(crate) fn over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_said_once_and_so_is_its_end() {
        let mut said = Said::default();
        assert!(!said.over());
        assert!(said.trouble(Reason::KAFKA_ERROR) && !said.trouble(Reason::KAFKA_ERROR));
        assert!(said.trouble(Reason::FENCED));
        assert!(said.over() && !said.over() && said.trouble(Reason::FENCED));
    }
}
