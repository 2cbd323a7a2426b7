//! When a device that is assigned registers again.

use std::time::Duration;

use crate::backend::iothub::listener::Doubt;
use crate::state::assignment::Assignment;
use crate::time::clock::UnixSeconds;

/// The pause before a second registration for a hub that refuses the device, which doubles with each further one.
const PAUSE: Duration = Duration::from_secs(10 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// How long a hub is out of reach before it may have been deleted, and the pause between two registrations for that.
const AWAY: Duration = Duration::from_secs(10 * 60);
const AWAY_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Whether to register again at `now`. The first time that the hub refuses the device, this is at once.
pub(super) fn is_due(assignment: &Assignment, doubt: Doubt, now: UnixSeconds) -> bool {
    // A clock that was set back says nothing about the pause.
    let since = now.0.checked_sub(assignment.registered).map_or(Duration::MAX, Duration::from_secs);
    match doubt {
        Doubt::None => false,
        Doubt::Refused => since >= pause_after(assignment.repeated),
        Doubt::Unreachable(away) => away >= AWAY && since >= AWAY_PAUSE,
    }
}

fn pause_after(repeated: u32) -> Duration {
    match repeated.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => PAUSE.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: u64 = 1_795_396_174;

    fn is_due_after(seconds: i64, repeated: u32, doubt: Doubt) -> bool {
        let assignment = Assignment {
            hub: "h".into(),
            device_id: "d".into(),
            assigned: REGISTERED,
            registered: REGISTERED,
            repeated,
        };
        is_due(&assignment, doubt, UnixSeconds(REGISTERED.checked_add_signed(seconds).unwrap()))
    }

    #[test]
    fn a_refusal_is_asked_about_at_once_and_then_ever_less_often() {
        for (repeated, pause) in [(0, 0), (1, 600), (2, 1200), (3, 2400), (7, 21_600), (u32::MAX, 21_600)] {
            assert!(is_due_after(pause, repeated, Doubt::Refused), "{repeated}");
            assert!(pause == 0 || !is_due_after(pause - 1, repeated, Doubt::Refused), "{repeated}");
        }
        assert!(is_due_after(-1, 7, Doubt::Refused), "the clock was set back");
        assert!(!is_due_after(1 << 30, 0, Doubt::None));
    }

    #[test]
    fn a_hub_out_of_reach_is_asked_about_hourly() {
        let away = |minutes: u64| Doubt::Unreachable(Duration::from_secs(minutes * 60));
        assert!(!is_due_after(1 << 30, 0, away(9)));
        assert!(is_due_after(3600, 0, away(10)) && is_due_after(3600, 7, away(600)));
        assert!(!is_due_after(3599, 0, away(600)));
    }
}
