//! The 19 MiB that one argon2 run works in.
//!
//! A long-lived process must not take them from the heap for every check: glibc serves what it has once seen freed from the
//! arena of whichever thread asks, and keeps it there (measured: 1.2 GiB resident after a thousand wrong passwords). So a
//! memory is made once and used again, and really goes back to the system when it is dropped.

use argon2::Block;
#[cfg(fuzzing)]
use argon2::Params;

/// Kilobytes and passes of argon2id: the first choice of OWASP's password storage page, some 20 ms on one core.
#[cfg(not(fuzzing))]
pub(crate) const COST: (u32, u32) = (19 * 1024, 2);

/// A fuzzer looks for other things than a guessed password, and wants thousands of logins in a second.
#[cfg(fuzzing)]
pub(crate) const COST: (u32, u32) = (Params::MIN_M_COST, 1);

/// A password could not be made or hashed: no memory or no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no memory or no random numbers for a password; try again")]
pub struct HashingFailed;

/// KiB that a memory reserves, of which only those of [`COST`] are ever touched and so resident.
///
/// glibc maps an allocation above `M_MMAP_THRESHOLD` by itself and unmaps it when it is freed, but raises that threshold,
/// up to 32 MiB (`DEFAULT_MMAP_THRESHOLD_MAX`, mallopt(3)), to the size of each mapping that is freed: the second memory of
/// 19 MiB would come from the heap. One above 32 MiB never does.
#[cfg(all(target_os = "linux", target_env = "gnu", not(fuzzing)))]
const RESERVED: Option<usize> = Some(33 * 1024);

/// Other allocators map large allocations always.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(fuzzing))))]
const RESERVED: Option<usize> = None;

/// Working memory for one argon2 run at a time.
pub(crate) struct WorkingMemory(Vec<Block>);

impl WorkingMemory {
    /// Takes it from the system.
    ///
    /// # Errors
    /// The system has none; unlike other allocations this one is large enough to be refused.
    pub(crate) fn new() -> Result<Self, HashingFailed> {
        let blocks = usize::try_from(COST.0).map_err(|_| HashingFailed)?;
        let mut memory = Vec::new();
        let reserved = RESERVED.map_or(blocks, |reserved| reserved.max(blocks));
        memory.try_reserve_exact(reserved).map_err(|_| HashingFailed)?;
        memory.resize(blocks, Block::new());
        Ok(Self(memory))
    }
}

impl AsMut<[Block]> for WorkingMemory {
    fn as_mut(&mut self) -> &mut [Block] {
        &mut self.0
    }
}
