//! Counts an HTTP/2 peer's frames that are not part of a request, and detects floods of them.
//!
//! `h2` closes connections for endless headers, for streams that are reset before they are accepted, and for errors.
//! It handles other frames without a limit, so they are counted here: pings, settings, priorities, windows, resets,
//! tiny pieces of bodies, and unknown frames. A client needs only a few: some for each answer that it gets, and some
//! for the bytes it reads.

use std::time::Duration;

use tokio::time::Instant;

/// Frames allowed in a burst.
const BURST: u64 = 1000;
/// Frames allowed per second in the long run.
const EACH_SECOND: u64 = 100;
/// Frames allowed per answer: resets, windows.
const FOR_AN_ANSWER: u64 = 8;
/// Bytes of answers per allowed frame: Go opens two windows for every 4 KiB it reads.
const BYTES_FOR_A_FRAME: u64 = 1 << 10;

/// Bytes of a body that justify a frame.
const PIECE: usize = 64;

const PREFACE: usize = 24;
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The peer's activity that allows frames.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct Earned {
    /// Number of answers it got.
    pub(in crate::server) answers: u64,
    /// Number of bytes written to it.
    pub(in crate::server) bytes: u64,
}

/// The verdict on the number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Amount {
    /// As many as a client needs.
    Fine,
    /// More than that: it should reconnect.
    Odd,
    /// Too many to be a mistake.
    Flood,
}

/// Parses frames as they are read. Time is an argument.
#[derive(Debug)]
pub(in crate::server) struct Frames {
    /// Bytes until the next frame header.
    skip: usize,
    header: [u8; HEADER],
    /// The part of the frame header that was read.
    have: usize,
    /// Bytes of the last read up to the end of a frame.
    whole: Option<usize>,
    /// The number of unneeded frames.
    count: u64,
    counted_at: Instant,
    counted: Earned,
    last_stream: u32,
}

impl Frames {
    pub(in crate::server) fn new(now: Instant) -> Frames {
        Frames {
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            whole: None,
            count: 0,
            counted_at: now,
            counted: Earned::default(),
            last_stream: 0,
        }
    }

    /// Scans bytes that were read. `earned` counts from the start; it and the time are used only after many frames.
    pub(in crate::server) fn read(
        &mut self,
        mut bytes: &[u8],
        earned: impl FnOnce() -> (Earned, Instant),
    ) -> Amount {
        let length = bytes.len();
        self.whole = None;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (HEADER - self.have).min(bytes.len());
            let (more, rest) = bytes.split_at(wanted);
            if let Some(place) = self.header.get_mut(self.have..self.have + wanted) {
                place.copy_from_slice(more);
            }
            self.have += wanted;
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                self.frame();
            }
            if self.have == 0 && self.skip <= bytes.len() {
                self.whole = Some(length - bytes.len() + self.skip);
            }
        }
        if self.count <= BURST {
            return Amount::Fine;
        }
        self.settle(earned());
        match self.count {
            ..=BURST => Amount::Fine,
            count if count <= 2 * BURST => Amount::Odd,
            _ => Amount::Flood,
        }
    }

    /// How many of the bytes read last end with a frame, if any do.
    pub(in crate::server) fn whole(&self) -> Option<usize> {
        self.whole
    }

    /// The last message to a flooding peer: GOAWAY with the streams that were processed.
    pub(in crate::server) fn farewell(&self) -> [u8; 17] {
        let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = [self.last_stream.to_be_bytes(), ENHANCE_YOUR_CALM.to_be_bytes()];
        for (place, byte) in frame.iter_mut().skip(HEADER).zip(numbers.as_flattened()) {
            *place = *byte;
        }
        frame
    }

    fn frame(&mut self) {
        let [long, middle, short, kind, flags, stream @ ..] = self.header;
        self.skip = usize::from(long) << 16 | usize::from(middle) << 8 | usize::from(short);
        let needed = match kind {
            DATA => self.skip >= PIECE || flags & END_STREAM != 0,
            HEADERS => {
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & (u32::MAX >> 1));
                true
            }
            _ => false,
        };
        self.count += u64::from(!needed);
    }

    fn settle(&mut self, (earned, now): (Earned, Instant)) {
        let passed = now.saturating_duration_since(self.counted_at);
        let by_time = EACH_SECOND.saturating_mul(passed.as_secs());
        let by_answers = (earned.answers - self.counted.answers) * FOR_AN_ANSWER;
        let by_bytes = (earned.bytes - self.counted.bytes) / BYTES_FOR_A_FRAME;
        self.count = self.count.saturating_sub(by_time + by_answers + by_bytes);
        // Fractions of a second or of a frame carry over to the next call.
        self.counted_at += Duration::from_secs(passed.as_secs());
        self.counted.answers = earned.answers;
        self.counted.bytes += by_bytes * BYTES_FOR_A_FRAME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    /// A stream's header and 300 bytes of its body.
    fn request(stream: u8) -> Vec<u8> {
        let headers = [0, 0, 1, HEADERS, 4, 0, 0, 0, stream, 0x82];
        [&headers[..], &[0, 1, 0x2c, DATA, END_STREAM, 0, 0, 0, stream], &[6; 300]].concat()
    }

    fn after_preface(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        assert_eq!(frames.read(&[6; PREFACE], || unreachable!()), Amount::Fine);
        frames
    }

    // H-07
    #[test]
    fn pings_are_counted_wherever_the_bytes_are_cut_and_requests_are_not() {
        let now = Instant::now();
        let mut whole = after_preface(now);
        let bytes = [&request(1)[..], &PING, &PING, &request(3)].concat();
        assert_eq!(whole.read(&bytes, || unreachable!()), Amount::Fine);
        assert_eq!((whole.count, whole.last_stream), (2, 3));
        for length in 1..40 {
            let mut cut = after_preface(now);
            for piece in bytes.chunks(length) {
                cut.read(piece, || unreachable!());
            }
            assert_eq!((cut.count, cut.last_stream, cut.skip, cut.have), (2, 3, 0, 0), "{length}");
        }
    }

    // A library that reads frames treats an end within one as an error, and sends nothing before it closes.
    #[test]
    fn the_end_of_the_last_whole_frame_is_known() {
        let mut frames = after_preface(Instant::now());
        let bytes = [&PING[..], &request(1), &PING[..5]].concat();
        let mut read = |bytes: &[u8]| {
            frames.read(bytes, || unreachable!());
            frames.whole()
        };
        assert_eq!(read(&bytes), Some(bytes.len() - 5));
        assert_eq!(read(&PING[5..16]), None);
        assert_eq!(read(&PING[16..]), Some(1));
        assert_eq!(read(&[&PING[..], &PING[..12]].concat()), Some(17));
    }

    // H-07
    #[test]
    fn a_thousand_at_once_are_odd_and_twice_as_many_are_a_flood() {
        let now = Instant::now();
        let mut frames = after_preface(now);
        let nothing = || (Earned::default(), now);
        assert_eq!(frames.read(&PING.repeat(1000), nothing), Amount::Fine);
        assert_eq!(frames.read(&PING, nothing), Amount::Odd);
        assert_eq!(frames.read(&PING.repeat(999), nothing), Amount::Odd);
        assert_eq!(frames.read(&PING, nothing), Amount::Flood);
        assert_eq!(frames.farewell(), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]);
    }

    #[test]
    fn time_answers_and_bytes_that_are_read_give_frames_back() {
        let now = Instant::now();
        let over = |earned: Earned, later: u64| {
            let mut frames = after_preface(now);
            frames.read(&PING.repeat(1801), || (earned, now + Duration::from_millis(later)));
            frames.count
        };
        assert_eq!(over(Earned::default(), 999), 1801);
        assert_eq!(over(Earned::default(), 8000), 1001);
        assert_eq!(over(Earned { answers: 100, bytes: 0 }, 0), 1001);
        assert_eq!(over(Earned { answers: 0, bytes: 800 << 10 }, 0), 1001);
        assert_eq!(over(Earned { answers: 1000, bytes: 0 }, 0), 0);
    }

    #[test]
    fn tiny_pieces_of_a_body_are_counted_and_its_end_is_not() {
        let mut frames = after_preface(Instant::now());
        let piece = |length: u8, flags| {
            [&[0, 0, length, DATA, flags, 0, 0, 0, 1][..], &vec![6; length.into()]].concat()
        };
        let pieces = [piece(0, 0), piece(63, 0), piece(64, 0), piece(1, END_STREAM), piece(0, END_STREAM)];
        frames.read(&pieces.concat(), || unreachable!());
        assert_eq!(frames.count, 2);
    }
}
