//! When to send which blocks: windows, acknowledgements, retransmission. Pure: time is an argument.
//!
//! Two properties matter. A lost packet costs about a round trip's worth of waiting, not the seconds of
//! classic TFTP servers: the time-out follows the measured round trips (RFC 6298, Karn's rule) from
//! 100 ms up. And a duplicate acknowledgement of a lock-step transfer never causes a second copy of the
//! rest of the file (the "sorcerer's apprentice" of RFC 1123, section 4.2.3.1).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Time-out before anything was measured.
const FIRST_RTO: Duration = Duration::from_millis(400);
/// Bounds of the time-out.
const MIN_RTO: Duration = Duration::from_millis(100);
const MAX_RTO: Duration = Duration::from_secs(2);
/// A client that made no progress for this long is gone.
const GIVE_UP: Duration = Duration::from_secs(30);
/// One that never said anything after its request: perhaps nobody sent it.
const GIVE_UP_UNHEARD: Duration = Duration::from_secs(10);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these blocks; block 0 is the answer to the options.
    Send(RangeInclusive<u64>),
    /// Nothing.
    Wait,
    /// The last block was acknowledged.
    Done,
    /// The client is gone.
    GiveUp,
}

/// Progress of one transfer.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Number of the last block (the first one is 1).
    last: u64,
    window: u64,
    /// First block not acknowledged.
    base: u64,
    /// Last block sent.
    sent: u64,
    sent_at: Instant,
    /// Some of what is under way was sent before: its acknowledgement measures nothing.
    again: bool,
    /// A repeated acknowledgement already made this window be sent again.
    repeated: bool,
    heard: bool,
    progress_at: Instant,
    rto: Duration,
    max_rto: Duration,
    /// Smoothed round trip and its variation.
    measured: Option<(Duration, Duration)>,
}

impl Flow {
    /// A transfer of blocks up to `last`, which starts by block 0 if options are answered.
    pub(crate) fn start(
        last: u64,
        window: u16,
        options: bool,
        timeout: Option<u8>,
        now: Instant,
    ) -> (Self, Step) {
        let mut flow = Self {
            last,
            window: u64::from(window),
            base: if options { 0 } else { 1 },
            sent: 0,
            sent_at: now,
            again: false,
            repeated: false,
            heard: false,
            progress_at: now,
            rto: FIRST_RTO,
            // A client that says how long it waits (RFC 2349) is not waited for any longer.
            max_rto: timeout
                .map_or(MAX_RTO, |seconds| MAX_RTO.min(Duration::from_secs(seconds.into()))),
            measured: None,
        };
        let step = flow.send(now);
        (flow, step)
    }

    /// When [`Flow::on_timeout`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.sent_at + self.rto
    }

    /// Blocks the client has (block 0 not counted).
    pub(crate) fn acknowledged(&self) -> u64 {
        self.base.saturating_sub(1)
    }

    /// Nothing but the answer to the options was sent yet.
    pub(crate) fn is_negotiating(&self) -> bool {
        self.base == 0
    }

    /// Only the last block may be missing.
    pub(crate) fn is_at_end(&self) -> bool {
        self.sent == self.last
    }

    /// The client acknowledged the block whose number ends with these 16 bits.
    pub(crate) fn on_ack(&mut self, number: u16, now: Instant) -> Step {
        self.heard = true;
        let under_way = self.sent + 1 - self.base;
        let ahead = u64::from(number.wrapping_sub(self.base as u16));
        if ahead < under_way {
            let whole = ahead + 1 == under_way;
            if !self.again {
                self.measure(now.saturating_duration_since(self.sent_at));
            }
            self.base += ahead + 1;
            self.progress_at = now;
            self.repeated = false;
            // After a gap the rest of the window is sent again with what follows it.
            self.again = !whole;
            if self.base > self.last { Step::Done } else { self.send(now) }
        } else if ahead == 0xffff && self.window > 1 && self.base > 0 && !self.repeated {
            // RFC 7440: the client repeats its last acknowledgement when the first block of a window
            // is missing. Once per window, since each block after the gap may cause such a repeat.
            self.repeated = true;
            self.again = true;
            self.send(now)
        } else {
            Step::Wait
        }
    }

    /// The time of [`Flow::deadline`] has come.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> Step {
        let patience = if self.heard { GIVE_UP } else { GIVE_UP_UNHEARD };
        if now.saturating_duration_since(self.progress_at) >= patience {
            return Step::GiveUp;
        }
        self.rto = (self.rto * 2).min(self.max_rto);
        self.again = true;
        self.repeated = false;
        self.send(now)
    }

    fn send(&mut self, now: Instant) -> Step {
        let end = match self.base {
            0 => 0,
            base => self.last.min(base + self.window - 1),
        };
        self.sent = end;
        self.sent_at = now;
        Step::Send(self.base..=end)
    }

    /// RFC 6298, with the bounds of this file.
    fn measure(&mut self, round_trip: Duration) {
        let (smooth, variation) = match self.measured {
            None => (round_trip, round_trip / 2),
            Some((smooth, variation)) => {
                ((smooth * 7 + round_trip) / 8, (variation * 3 + smooth.abs_diff(round_trip)) / 4)
            }
        };
        self.measured = Some((smooth, variation));
        self.rto = (smooth + variation * 4).clamp(MIN_RTO, self.max_rto.max(MIN_RTO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn lock_step() {
        let now = Instant::now();
        let (mut flow, step) = Flow::start(3, 1, true, None, now);
        assert_eq!(step, Step::Send(0..=0));
        assert!(flow.is_negotiating());
        assert_eq!(flow.on_ack(0, now + MS), Step::Send(1..=1));
        assert_eq!(flow.on_ack(0, now + MS), Step::Wait, "a duplicate");
        assert_eq!(flow.on_ack(1, now + MS), Step::Send(2..=2));
        assert_eq!(flow.on_ack(1, now + MS), Step::Wait, "no sorcerer's apprentice");
        assert_eq!(flow.on_ack(7, now + MS), Step::Wait, "never sent");
        assert_eq!(flow.on_ack(2, now + MS), Step::Send(3..=3));
        assert_eq!(flow.acknowledged(), 2);
        assert_eq!(flow.on_ack(3, now + MS), Step::Done);
    }

    #[test]
    fn windows_and_gaps() {
        let now = Instant::now();
        let (mut flow, step) = Flow::start(100, 8, false, None, now);
        assert_eq!(step, Step::Send(1..=8));
        assert_eq!(flow.on_ack(8, now), Step::Send(9..=16));
        assert_eq!(flow.on_ack(11, now), Step::Send(12..=19), "12 was lost");
        assert_eq!(flow.on_ack(11, now), Step::Send(12..=19), "the first of a window was lost");
        assert_eq!(flow.on_ack(11, now), Step::Wait, "once per window");
        assert_eq!(flow.on_timeout(now + MS), Step::Send(12..=19));
        assert_eq!(flow.on_ack(19, now + MS), Step::Send(20..=27));
    }

    #[test]
    fn block_numbers_roll_over() {
        let now = Instant::now();
        let (mut flow, mut step) = Flow::start(140_000, 1, false, None, now);
        for block in 1..=140_000_u64 {
            assert_eq!(step, Step::Send(block..=block));
            step = flow.on_ack(block as u16, now);
        }
        assert_eq!(step, Step::Done);
    }

    #[test]
    fn the_time_out_follows_the_round_trips() {
        let mut now = Instant::now();
        let (mut flow, _) = Flow::start(1000, 1, false, None, now);
        assert_eq!(flow.deadline() - now, FIRST_RTO);
        for block in 1..50 {
            now += MS;
            flow.on_ack(block, now);
        }
        assert_eq!(flow.deadline() - now, MIN_RTO);
        now = flow.deadline();
        flow.on_timeout(now);
        assert_eq!(flow.deadline() - now, MIN_RTO * 2, "doubles");
        now += MS;
        flow.on_ack(50, now);
        assert_eq!(flow.deadline() - now, MIN_RTO * 2, "Karn: this one measured nothing");
        now += MS;
        flow.on_ack(51, now);
        assert_eq!(flow.deadline() - now, MIN_RTO);
    }

    #[test]
    fn gone_clients() {
        for (heard, patience) in [(false, GIVE_UP_UNHEARD), (true, GIVE_UP)] {
            let start = Instant::now();
            let (mut flow, _) = Flow::start(9, 1, false, Some(1), start);
            if heard {
                flow.on_ack(1, start);
            }
            let mut tries = 0;
            let end = loop {
                let now = flow.deadline();
                match flow.on_timeout(now) {
                    Step::GiveUp => break now,
                    Step::Send(_) => tries += 1,
                    other => panic!("{other:?}"),
                }
                // A stale acknowledgement is no progress.
                flow.on_ack(0, now);
            };
            assert!(end - start >= if heard { GIVE_UP } else { patience.min(GIVE_UP) });
            assert!(tries < 40, "{tries} tries");
        }
    }

    proptest! {
        /// A client that loses packets both ways gets every block, and is never ahead of the server.
        #[test]
        fn lossy_transfers_end(last in 1_u64..400, window in 1_u16..20, seed in any::<u64>()) {
            let mut now = Instant::now();
            // One packet in ten is lost (Knuth's generator: no pattern a transfer could fall in step with).
            let mut state = seed;
            let mut lost = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33).is_multiple_of(10)
            };
            let (mut flow, mut step) = Flow::start(last, window, false, None, now);
            let mut received = 0_u64;
            for _ in 0..100_000 {
                match step {
                    Step::Done => break,
                    Step::GiveUp => prop_assert!(false, "gave up at {received} of {last}"),
                    Step::Wait => {
                        now = flow.deadline();
                        step = flow.on_timeout(now);
                    }
                    Step::Send(range) => {
                        prop_assert!(*range.end() <= last && range.clone().count() <= usize::from(window));
                        let mut ack = false;
                        for block in range.clone() {
                            if lost() {
                                continue;
                            }
                            if block == received + 1 { received += 1; }
                            ack = block == *range.end() || block > received;
                        }
                        now += MS;
                        step = if ack && !lost() {
                            flow.on_ack(received as u16, now)
                        } else {
                            Step::Wait
                        };
                    }
                }
            }
            prop_assert_eq!(received, last);
            prop_assert_eq!(step, Step::Done);
        }
    }
}
