//! The time that the program goes by: the machine's, or the time of a drill, which may run faster, and stand still.
//!
//! Only what is said and compared with a cluster's times goes by it. How long to wait for an answer is the machine's time
//! always.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::model::Timestamp;

/// Tells the time. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    Wall,
    Story(StoryClock),
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::Wall => Timestamp::now(),
            Clock::Story(clock) => clock.now(),
        }
    }

    /// A clock that stands still.
    pub fn stopped(at: Timestamp) -> Clock {
        Clock::Story(StoryClock::new(at, Pace::Stopped))
    }
}

/// How fast the time of a story goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Stopped,
    /// Seconds of the story for a second of the machine.
    Times(u32),
}

/// The time of a drill.
#[derive(Debug, Clone)]
pub struct StoryClock(Arc<Mutex<Story>>);

#[derive(Debug)]
struct Story {
    /// When the pace was set, in the story's time and in the machine's.
    at: Timestamp,
    since: Instant,
    pace: Pace,
}

impl Story {
    fn now(&self) -> Timestamp {
        match self.pace {
            Pace::Stopped => self.at,
            Pace::Times(times) => {
                let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
                let told = passed.checked_mul(i32::try_from(times).unwrap_or(i32::MAX));
                // A story ends long before the calendar does.
                told.and_then(|told| self.at.checked_add(told).ok()).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

impl StoryClock {
    /// Begins at `at`.
    pub fn new(at: Timestamp, pace: Pace) -> StoryClock {
        StoryClock(Arc::new(Mutex::new(Story { at, since: Instant::now(), pace })))
    }

    pub fn now(&self) -> Timestamp {
        self.story().now()
    }

    pub fn pace(&self) -> Pace {
        self.story().pace
    }

    /// How long the machine takes until the story is there; `None` while it stands still.
    pub fn until(&self, time: Timestamp) -> Option<Duration> {
        let story = self.story();
        let left = Duration::try_from(time.duration_since(story.now())).unwrap_or_default();
        match story.pace {
            Pace::Stopped | Pace::Times(0) => None,
            Pace::Times(times) => Some(left / times),
        }
    }

    /// Goes on from now at another pace.
    pub fn set_pace(&self, pace: Pace) {
        let mut story = self.story();
        *story = Story { at: story.now(), since: Instant::now(), pace };
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        // It is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_story_goes_at_its_pace_and_never_back() {
        let begin: Timestamp = "2019-02-05T16:00:00Z".parse().unwrap();
        let clock = StoryClock::new(begin, Pace::Times(10));
        let told = Clock::Story(clock.clone());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(told.now().to_string(), "2019-02-05T16:00:30Z");
        clock.set_pace(Pace::Stopped);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(told.now().to_string(), "2019-02-05T16:00:30Z");
        clock.set_pace(Pace::Times(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(told.now().to_string(), "2019-02-05T16:00:35Z");
        assert_eq!(clock.pace(), Pace::Times(1));
    }
}
