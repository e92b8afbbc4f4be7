//! The simulated tenant, the stories played against it, and what the demo and the benches share.

pub mod harness;
pub mod office365;
