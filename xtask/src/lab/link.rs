//! Simulates a slow link between two processes on one machine, for `bench link`: a TCP proxy with a
//! rate and a delay in each direction. It needs neither privileges nor `tc netem`: data is cut into
//! packets, each of which takes its turn on the link (its length at the rate) and arrives after the
//! delay.
//!
//! A connection to the link costs no time, since it ends in the proxy: the TCP handshake is not
//! measured.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Size of a packet: the payload of a TCP segment on Ethernet.
const PACKET: usize = 1460;
/// Maximum number of packets in flight per direction; beyond it the sender waits. A home router
/// buffers as many.
const QUEUE: usize = 64;

/// Pace of each direction of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Delay from one end to the other.
    pub(crate) delay: Duration,
    /// Rate in bytes per second.
    pub(crate) rate: u32,
}

/// A link to one address. It accepts connections until it is dropped; open ones stay.
pub(crate) struct Link {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Link {
    /// Opens a port of its own for connections to `target`.
    pub(crate) fn to(target: SocketAddr, pace: Pace) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = Self { address: listener.local_addr()?, is_over: Arc::default() };
        let is_over = link.is_over.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if is_over.load(Relaxed) {
                    return;
                }
                // If nothing listens at the target, the connection ends.
                let _ = carry(near, target, pace);
            }
        });
        Ok(link)
    }

    /// Returns the address to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Pace {
    /// Returns the time that `bytes` bytes take on the link.
    pub(crate) fn time_of(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / f64::from(self.rate))
    }
}

/// Carries one connection, with two threads per direction.
fn carry(near: TcpStream, target: SocketAddr, pace: Pace) -> std::io::Result<()> {
    let far = TcpStream::connect(target)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (send, due) = sync_channel(QUEUE);
        thread::spawn(move || take(from, &send, pace));
        thread::spawn(move || deliver(to, &due));
    }
    Ok(())
}

/// A packet and its time of arrival; an empty packet ends the direction.
type Packet = (Instant, Vec<u8>);

/// Reads packets from the sender; each takes its turn after the previous one.
fn take(mut from: TcpStream, send: &SyncSender<Packet>, pace: Pace) {
    let mut free = Instant::now();
    let mut packet = [0; PACKET];
    loop {
        let read = from.read(&mut packet).unwrap_or(0);
        free = free.max(Instant::now()) + pace.time_of(read as u64);
        if send.send((free + pace.delay, packet[..read].to_vec())).is_err() || read == 0 {
            return;
        }
    }
}

/// Writes each packet when it is due, then ends the direction.
fn deliver(mut to: TcpStream, due: &Receiver<Packet>) {
    for (when, packet) in due {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        if packet.is_empty() || to.write_all(&packet).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    //! Tests the promises of a link, with tolerance for a busy machine.
    #![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

    use super::*;

    /// Maximum delay that a busy machine adds.
    const SLACK: Duration = Duration::from_millis(300);
    const DELAY: Duration = Duration::from_millis(50);

    /// Sends `bytes` over a link to a server that echoes them once the input ends. Returns the
    /// answer, the time at which the first byte arrived at the server, and the time at which the
    /// whole answer was back.
    fn echoed(pace: Pace, bytes: &[u8]) -> (Vec<u8>, Duration, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(listener.local_addr().unwrap(), pace).unwrap();
        let start = Instant::now();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0];
            stream.read_exact(&mut heard).unwrap();
            let first = start.elapsed();
            stream.read_to_end(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
            first
        });
        let mut stream = TcpStream::connect(link.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        let whole = start.elapsed();
        (back, echo.join().unwrap(), whole)
    }

    fn is_about(found: Duration, expected: Duration) {
        assert!(found >= expected && found < expected + SLACK, "{found:?} and not {expected:?}");
    }

    #[test]
    fn each_direction_has_the_delay_and_a_half_close_passes() {
        let (back, first, whole) = echoed(Pace { delay: DELAY, rate: u32::MAX }, b"?");
        assert_eq!(back, b"?");
        is_about(first, DELAY);
        is_about(whole, 2 * DELAY);
    }

    #[test]
    fn the_rate_holds_and_bytes_arrive_in_order() {
        let bytes: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        let pace = Pace { delay: DELAY, rate: 400_000 };
        let (back, first, whole) = echoed(pace, &bytes);
        assert!(back == bytes);
        is_about(first, DELAY);
        is_about(whole, 2 * (DELAY + pace.time_of(bytes.len() as u64)));
    }

    #[test]
    fn whoever_sends_more_than_the_link_holds_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(listener.local_addr().unwrap(), Pace { delay: DELAY, rate: 100_000 }).unwrap();
        let mut stream = TcpStream::connect(link.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < Duration::from_millis(500) {
            sent += stream.write(&[0; 1 << 16]).unwrap_or(0);
            thread::sleep(Duration::from_millis(1));
        }
        // The kernel's own buffers at both ends take a few MiB on loopback.
        assert!(sent < 16 << 20, "{sent} bytes were taken in half a second");
    }

    #[test]
    fn a_far_end_that_is_not_there_ends_the_connection() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let link = Link::to(nobody, Pace { delay: DELAY, rate: 1000 }).unwrap();
        let mut stream = TcpStream::connect(link.address()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}
