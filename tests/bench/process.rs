//! What Linux tells about a process.

use std::fs;

use oxpost_tests::harness::Problem;

/// /proc counts processor time in hundredths of a second, whatever the kernel's own clock (man 5 proc, USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory in KiB: the proportional set size, in which a page shared with others counts in part.
pub(crate) fn memory(id: u32) -> Result<f64, Problem> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| Problem::new("smaps_rollup has no Pss"))
}

/// Processor time so far in seconds, of all its threads, those that have ended too, as user and in the kernel.
pub(crate) fn cpu(id: u32) -> Result<f64, Problem> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The program's name, in brackets, may hold anything; utime and stime are the 12th and 13th word behind it.
    let words = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = words.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    match ticks.as_slice() {
        [user, system] => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err(Problem::new("/proc/…/stat cannot be read")),
    }
}

/// The machine in one line.
pub(crate) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{processors} x {model}, Linux {}", kernel.trim())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_takes_time() {
        assert!(memory(std::process::id()).unwrap() > 100.0);
        assert!(cpu(std::process::id()).unwrap() >= 0.0);
        assert!(cpu(u32::MAX).is_err());
    }
}
