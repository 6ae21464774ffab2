//! One replica by its role: it leads (`leader`), or it follows (`follower`) and passes whole calls on to the leader
//! (`whole_calls`, on the way that is `forward`).

mod config;
pub(crate) mod follower;
pub(crate) mod forward;
mod informed;
mod leader;
pub(crate) mod shared;
pub(crate) mod whole_calls;

pub use config::ControllerConfig;
pub use informed::Informed;
