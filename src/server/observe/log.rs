//! The log: text or JSON lines on stderr, written by its own thread so that a blocked stderr blocks nothing else.

use std::{
    io::{self, Write},
    iter,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, fmt, layer::SubscriberExt, registry::LookupSpan, reload,
};

use crate::warning::shown;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; with `color` for terminals.
    Text {
        /// Whether to use ANSI colors.
        color: bool,
    },
    /// One JSON object per line.
    Json,
}

/// Why a log filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be parsed.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// It is empty, so nothing would be logged.
    #[error("found no level in {0}")]
    NoLevel(String),
}

/// Maximum number of queued lines; further ones are dropped and counted.
const QUEUE: usize = 8192;

/// Queues lines for the writer thread; never blocks.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Message>,
    dropped: Counter,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `sink`. Lines that do not fit into the queue are counted in `dropped`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static, dropped: Counter) -> io::Result<Lines> {
        let (queue, lines) = sync_channel(QUEUE);
        let lost = dropped.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write(sink, &lines, lost))?;
        Ok(Lines { queue, dropped })
    }

    /// Queues one line.
    pub fn line(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line)) {
            self.dropped.inc();
        }
    }

    /// Waits until everything queued so far is written, but at most `within`.
    pub fn flush(&self, within: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(within);
        }
    }
}

/// How long lines are collected before they are written together, because waking the writer for each line of a busy
/// server costs more than the line.
const GATHER: Duration = Duration::from_millis(10);
/// Maximum number of bytes written together.
const CHUNK: usize = 32 << 10;

/// Pause when the sink is not writable: a full pipe in nonblocking mode.
const AGAIN: Duration = Duration::from_millis(10);

fn write(sink: impl Write, lines: &Receiver<Message>, dropped: Counter) {
    let mut out = Sink { sink, dropped, torn: false };
    let mut text = Vec::with_capacity(CHUNK);
    while let Ok(first) = lines.recv() {
        if let Message::Line(_) = first {
            thread::sleep(GATHER);
        }
        for message in iter::once(first).chain(lines.try_iter()) {
            match message {
                Message::Line(line) => text.extend_from_slice(&line),
                Message::Flush(done) => {
                    out.put(&text);
                    let _ = out.sink.flush();
                    text.clear();
                    let _ = done.try_send(());
                }
            }
            if text.len() >= CHUNK {
                out.put(&text);
                text.clear();
            }
        }
        out.put(&text);
        text.clear();
    }
}

/// Queues lines while there is room.
struct Sink<W> {
    sink: W,
    dropped: Counter,
    /// Whether the last write ended in the middle of a line, because the rest was lost.
    torn: bool,
}

impl<W: Write> Sink<W> {
    /// Writes lines, and counts those that are lost because of a full disk or a missing reader. A log
    /// that cannot be written does not stop the server, and there is nowhere else to report it.
    fn put(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if self.torn && self.written(b"\n") == 1 {
            self.torn = false;
        }
        let written = self.written(text);
        let lost = text.get(written..).unwrap_or_default();
        if !lost.is_empty() {
            let lines = lost.iter().filter(|byte| **byte == b'\n').count();
            self.dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
            let last = text.get(..written).and_then(<[u8]>::last);
            self.torn |= last.is_some_and(|byte| *byte != b'\n');
        }
    }

    /// Writes as much as possible; returns how much that was.
    fn written(&mut self, text: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Meanwhile lines are queued; when the queue is full, they are dropped and counted.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
                Err(_) => break,
            }
        }
        written
    }
}

/// One event being written to the queue.
#[derive(Debug)]
pub struct Event<'a> {
    text: Vec<u8>,
    lines: &'a Lines,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Lines")
    }
}

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        self.lines.line(std::mem::take(&mut self.text));
    }
}

impl<'a> fmt::MakeWriter<'a> for Lines {
    type Writer = Event<'a>;
    fn make_writer(&'a self) -> Event<'a> {
        Event { text: Vec::with_capacity(512), lines: self }
    }
}

/// The filter of a log, which can be replaced at run time.
#[derive(Clone, Debug)]
pub struct Filter {
    current: reload::Handle<EnvFilter, Registry>,
    first: String,
}

impl Filter {
    /// Applies another filter, in the syntax of `RUST_LOG`; an empty text restores the initial one.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn set(&self, text: &str) -> Result<(), FilterError> {
        let filter = parse(if text.is_empty() { &self.first } else { text })?;
        // It fails only when the log is gone, and then nothing is filtered.
        let _ = self.current.reload(filter);
        Ok(())
    }

    /// The current filter.
    pub fn show(&self) -> String {
        self.current.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// The subscriber with a format, and a filter in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter cannot be parsed.
pub fn subscriber(
    format: Format,
    filter: &str,
    lines: Lines,
) -> Result<impl Subscriber + Send + Sync, FilterError> {
    adjustable(format, filter, lines).map(|(subscriber, _)| subscriber)
}

/// [`subscriber`], with a handle to replace its filter.
///
/// # Errors
/// When the filter cannot be parsed.
pub fn adjustable(
    format: Format,
    filter: &str,
    lines: Lines,
) -> Result<(impl Subscriber + Send + Sync, Filter), FilterError> {
    let first = if filter.is_empty() { "info" } else { filter };
    let (filter, current) = reload::Layer::new(parse(first)?);
    let subscriber = tracing_subscriber::registry().with(filter).with(layer(format, lines));
    Ok((subscriber, Filter { current, first: first.to_owned() }))
}

/// The API server client's own log lines about failed requests are off unless a filter names them: the callers report
/// each failure in a better way, and these lines quote responses that cannot be decoded, which may be Secrets.
///
/// Directives without a level, as in `outrigger=`, and a text of commas alone parse as filters too, and would silence
/// the log, which is never intended.
fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    let mut parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Err(FilterError::NoLevel(shown(filter)));
    }
    if let Some(part) = parts.find(|part| part.ends_with('=')) {
        return Err(FilterError::NoLevel(shown(part)));
    }
    let quiet = ["kube_client", "kube_runtime"].into_iter().filter(|target| !filter.contains(target));
    let directives: Vec<_> = quiet.map(|target| format!("{target}=off")).collect();
    Ok(EnvFilter::try_new([&[filter.to_owned()][..], &directives].concat().join(","))?)
}

fn layer<S>(format: Format, lines: Lines) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    match format {
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(lines).boxed(),
        Format::Text { color } => fmt::layer().with_ansi(color).with_writer(lines).boxed(),
    }
}

/// Logs one line with the location of a panic and nothing else, because the message of a panic may quote its input.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic contained");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    //
    #[test]
    fn a_log_nobody_reads_drops_lines_and_counts_them() {
        let dropped = Counter::default();
        let (_release, stuck) = channel();
        let lines = Lines::start(Stuck(stuck), dropped.clone()).unwrap();
        // The writer itself holds one chunk.
        let held = CHUNK / 2;
        for _ in 0..QUEUE + held + 100 {
            lines.line(b"x\n".to_vec());
        }
        assert!(dropped.get() >= 99, "{}", dropped.get());
        lines.flush(Duration::from_millis(1));
    }

    /// A disk with this many bytes left.
    struct Disk {
        left: usize,
        text: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
        busy: bool,
    }
    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.busy = !self.busy;
            if self.busy {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.left).min(7);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.left -= count;
            self.text.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    //
    #[test]
    fn lines_lost_to_a_full_disk_are_counted_and_leave_no_half_ones() {
        let (dropped, text) = (Counter::default(), std::sync::Arc::default());
        let disk = |left| Disk { left, text: std::sync::Arc::clone(&text), busy: false };
        let mut out = Sink { sink: disk(14), dropped: dropped.clone(), torn: false };
        out.put(b"line 1\nline 2\n");
        assert_eq!(dropped.get(), 0);
        out.sink.left = 10;
        out.put(b"line 3\nline 4\nline 5\n");
        assert_eq!(dropped.get(), 2, "one in the middle");
        out.put(b"line 6\n");
        assert_eq!(dropped.get(), 3);
        out.sink.left = 100;
        out.put(b"line 7\n");
        assert_eq!(dropped.get(), 3);
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "line 1\nline 2\nline 3\nlin\nline 7\n");
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        for format in [Format::Json, Format::Text { color: false }] {
            let (sender, written) = channel();
            struct Sink(std::sync::mpsc::Sender<Vec<u8>>);
            impl Write for Sink {
                fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                    self.0.send(bytes.to_vec()).unwrap();
                    Ok(bytes.len())
                }
                fn flush(&mut self) -> io::Result<()> {
                    Ok(())
                }
            }
            let lines = Lines::start(Sink(sender), Counter::default()).unwrap();
            let subscriber = subscriber(format, "", lines.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(name = "a\nb\u{1b}[31m", "request");
            });
            lines.flush(Duration::from_secs(5));
            let line = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(!line.contains('\u{1b}'), "{line:?}");
        }
    }
}
