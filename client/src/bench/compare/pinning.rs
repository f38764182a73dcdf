//! Which core the servers run on and which one the load.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two cores, by the system's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    /// Where every server runs.
    pub(crate) servers: usize,
    /// Where the load runs.
    pub(crate) load: usize,
}

impl Cores {
    /// Two of the processors that this process may use, if there are two that are not threads of one core.
    pub(crate) fn apart() -> Option<Cores> {
        let allowed = sched_getaffinity(None).ok()?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)).collect();
        pick(&allowed, |number| {
            let path = format!("/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
            fs::read_to_string(path).map_or_else(|_| vec![number], |text| numbers(&text))
        })
    }
}

/// The load on the first one, where interrupts are the likeliest; the servers on the last one that shares no core with
/// it.
fn pick(allowed: &[usize], siblings: impl Fn(usize) -> Vec<usize>) -> Option<Cores> {
    let load = *allowed.first()?;
    let beside = siblings(load);
    let servers = *allowed.iter().rev().find(|&number| *number != load && !beside.contains(number))?;
    Some(Cores { servers, load })
}

/// The numbers of a list such as `0,4-6`.
fn numbers(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Has the calling thread, and the threads that it starts, run on that processor alone.
///
/// # Errors
/// What the system says.
pub(crate) fn run_on(number: usize) -> Result<(), String> {
    let mut only = CpuSet::new();
    if number >= CpuSet::MAX_CPU {
        return Err(format!("there is no processor {number}"));
    }
    only.set(number);
    sched_setaffinity(None, &only).map_err(|error| format!("cannot run on processor {number}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_are_not_apart() {
        let alone = |number| vec![number];
        assert_eq!(pick(&[0, 1], alone), Some(Cores { load: 0, servers: 1 }));
        assert_eq!(pick(&[3], alone), None);
        assert_eq!(pick(&[], alone), None);
        let paired = |number: usize| numbers(&format!("{},{}", number % 4, number % 4 + 4));
        assert_eq!(pick(&[0, 4], paired), None, "two threads of core 0");
        assert_eq!(pick(&(0..8).collect::<Vec<_>>(), paired), Some(Cores { load: 0, servers: 7 }));
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(numbers("0\n"), [0]);
        assert_eq!(numbers("0,4-6"), [0, 4, 5, 6]);
        assert_eq!(numbers(""), [0usize; 0]);
    }

    #[test]
    fn a_thread_stays_where_it_is_told() {
        let Some(Cores { load, .. }) = Cores::apart() else { return };
        let told = std::thread::spawn(move || {
            run_on(load).unwrap();
            sched_getaffinity(None).unwrap()
        });
        let allowed = told.join().unwrap();
        assert!(allowed.is_set(load) && allowed.count() == 1);
        assert!(run_on(usize::MAX).is_err());
    }
}
