//! How a draw of `surprise` differs from the drill's file: which drill, when the oncall comes, how many jobs. The same seed
//! gives the same.

use jiff::{SignedDuration, Timestamp};

use super::file::DrillFile;

/// All of them.
const WHOLE: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    pub(super) later: SignedDuration,
    /// Of a thousand.
    pub(super) share_of_jobs: usize,
}

impl Default for Variation {
    /// None: as the file says.
    fn default() -> Self {
        Variation { later: SignedDuration::ZERO, share_of_jobs: WHOLE }
    }
}

impl Variation {
    /// What a seed makes of a drill.
    pub(super) fn draw(file: &DrillFile, dice: &mut Dice) -> Variation {
        let Some(surprise) = &file.surprise else { return Variation::default() };
        let most = surprise.opens_later_by_up_to.as_secs().max(0);
        let later = SignedDuration::from_secs(i64::try_from(dice.below(most.unsigned_abs() + 1)).unwrap_or(0));
        let all: usize = file.jobs.iter().map(|batch| batch.count).sum();
        let fewest = surprise.fewest_jobs.map_or(WHOLE, |fewest| (fewest * WHOLE).div_ceil(all.max(1)).min(WHOLE));
        let span = u64::try_from(WHOLE - fewest).unwrap_or(0);
        let share_of_jobs = fewest + usize::try_from(dice.below(span + 1)).unwrap_or(0);
        Variation { later, share_of_jobs }
    }

    pub(super) fn opens(&self, file: &DrillFile) -> Timestamp {
        file.opens + self.later
    }
}

/// Numbers that look like chance and are none: SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(end).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::*;

    #[test]
    fn a_draw_stays_within_what_the_file_allows_and_a_seed_draws_the_same() {
        let file = catalogue::find("2019-02-05").unwrap().file;
        let all: usize = file.jobs.iter().map(|batch| batch.count).sum();
        let (mut earliest, mut fewest) = (i64::MAX, usize::MAX);
        for seed in 0..500 {
            let drawn = Variation::draw(&file, &mut Dice::new(seed));
            assert_eq!(drawn, Variation::draw(&file, &mut Dice::new(seed)));
            assert!((0..=12 * 60).contains(&drawn.later.as_secs()), "{drawn:?}");
            let jobs = all * drawn.share_of_jobs / WHOLE;
            assert!((40..=all).contains(&jobs), "{drawn:?}: {jobs}");
            (earliest, fewest) = (earliest.min(drawn.later.as_secs()), fewest.min(jobs));
        }
        // It does vary.
        assert!(earliest < 30 && fewest < 60, "{earliest} s, {fewest} jobs");
    }
}
