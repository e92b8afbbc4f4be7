//! What stories, fuzzing and measurements use besides the public face. Nothing here is stable.

pub use crate::admin::doctor::CHECKS;
pub use crate::cli::parses;
pub use crate::config::{
    Device, Limits, Listener, ListenerTls, MailService, Protocol, SendingLimits, Server as MailServer, ServerTls,
    Servers,
};
#[cfg(fuzzing)]
pub use crate::context::Dial;
pub use crate::context::{Runtime, ServerContext, Settings};
pub use crate::failure::{FailureClass, KnownReply, Step, known_replies};
pub use crate::journal::Journal;
pub use crate::limits::back_off::BackOffs;
pub use crate::limits::connection_slots::{ConnectionSlots, SlotLimits, SlotSettings};
pub use crate::limits::login_throttle::{BlockLimits, LoginThrottle, ThrottleLimits};
pub use crate::limits::send_limiter::SendLimiter;
pub use crate::log::limits::LogLimits;
pub use crate::monitor::usage_writer::UsageRecorder;
#[cfg(fuzzing)]
pub use crate::net::stream::Memory;
pub use crate::net::stream::Stream;
pub use crate::server::device::Devices;
pub use crate::server::listener_context::ListenerContext;
pub use crate::server::session::{Client, serve};
pub use crate::upstream::advertised_extensions::AdvertisedExtensions;
pub use crate::upstream::login_offers::LoginOffers;
pub use crate::upstream::lookups::Lookups;
pub use crate::upstream::readiness::{Readiness, changed, readiness};
