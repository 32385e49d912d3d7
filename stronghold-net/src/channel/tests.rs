//! Tests violations behind a valid handshake, and connections cut at any byte.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use rustls::NamedGroup;
use tokio::io::{DuplexStream, ReadBuf, duplex};

use super::*;

fn device() -> Identity {
    Identity::generate().unwrap()
}

async fn pair() -> (Channel<DuplexStream>, Channel<DuplexStream>) {
    let (near, far) = duplex(1 << 20);
    let (asker, asked) = (device(), device());
    let (asking, answering) = tokio::join!(
        Channel::connect(near, &asker, Expect::Device(asked.device())),
        Channel::accept(far, &asked, Trust::Anyone),
    );
    (asking.unwrap(), answering.unwrap())
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

fn enveloped(role: u8, counter: u64, message: &[u8]) -> Vec<u8> {
    frame(&[&rmp_serde::to_vec(&(role, counter)).unwrap()[..], message].concat())
}

/// Returns the error with which the accepting side reads these bytes as a `String`, checked twice,
/// since an error is permanent.
async fn verdict(bytes: &[u8]) -> ChannelError {
    let (mut asking, mut answering) = pair().await;
    asking.outbox.extend_from_slice(bytes);
    asking.close().await.unwrap();
    let first = answering.receive::<String>().await.unwrap_err();
    assert_eq!(answering.receive::<String>().await.unwrap_err(), first);
    assert_eq!(answering.feed("x").await.unwrap_err(), first);
    first
}

#[tokio::test]
async fn the_handshake_settles_what_it_should() {
    let (asking, answering) = pair().await;
    for channel in [&asking, &answering] {
        let (_, tls) = channel.stream.get_ref();
        assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), NamedGroup::secp256r1MLKEM768);
        assert_eq!(
            tls.negotiated_cipher_suite().unwrap().suite(),
            rustls::CipherSuite::TLS13_AES_256_GCM_SHA384
        );
        assert_eq!(tls.alpn_protocol(), Some(ALPN));
        assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(tls.peer_certificates().unwrap().len(), 1);
    }
    // Bounds the hello, about 3,300 bytes both ways, so that no ticket, name or second group slips
    // in.
    assert!(asking.bytes_in() + asking.bytes_out() < 3500, "{} {}", asking.bytes_in(), asking.bytes_out());
}

#[tokio::test]
async fn messages_of_all_sizes_arrive_in_order_both_ways() {
    let (mut asking, mut answering) = pair().await;
    for size in [0, 1, 100, 16_384, 65_536] {
        let body = serde_bytes::ByteBuf::from(vec![size as u8; size]);
        asking.feed(&body).await.unwrap();
        answering.feed(&size).await.unwrap();
        answering.flush().await.unwrap();
        assert_eq!(asking.receive::<usize>().await.unwrap(), size);
        assert_eq!(answering.receive::<serde_bytes::ByteBuf>().await.unwrap(), body);
    }
}

#[tokio::test]
async fn messages_wait_for_a_flush_and_share_a_record() {
    let (mut asking, mut answering) = pair().await;
    let before = asking.bytes_out();
    for number in 0..50u8 {
        asking.feed(&number).await.unwrap();
    }
    assert_eq!(asking.bytes_out(), before);
    asking.flush().await.unwrap();
    let record = 5 + 1 + 16;
    assert_eq!(asking.bytes_out() - before, 50 * (4 + 3 + 1) + record);
    for number in 0..50u8 {
        assert_eq!(answering.receive::<u8>().await.unwrap(), number);
    }
}

#[tokio::test]
async fn a_message_beyond_the_maximum_is_not_sent() {
    let (mut asking, _answering) = pair().await;
    let body = serde_bytes::ByteBuf::from(vec![0; MAX_FRAME]);
    assert_eq!(asking.feed(&body).await.unwrap_err(), ChannelError::Unsendable);
    assert_eq!(asking.flush().await.unwrap_err(), ChannelError::Unsendable);
}

#[tokio::test]
async fn an_oversized_frame_is_refused_before_anything_is_kept_for_it() {
    for length in [MAX_FRAME as u32 + 1, u32::MAX] {
        assert_eq!(verdict(&length.to_be_bytes()).await, FrameError::Oversized(length).into());
    }
    let (mut asking, mut answering) = pair().await;
    asking.outbox.extend_from_slice(&(MAX_FRAME as u32).to_be_bytes());
    asking.close().await.unwrap();
    assert_eq!(answering.receive::<String>().await.unwrap_err(), ChannelError::Cut);
    assert!(answering.inbox.capacity() < 64);
}

#[tokio::test]
async fn a_replayed_a_skipped_and_a_reflected_message_are_told_apart() {
    let hello = rmp_serde::to_vec("hello").unwrap();
    assert_eq!(
        verdict(&enveloped(0, 1, &hello)).await,
        FrameError::WrongCounter { expected: 0, found: 1 }.into()
    );
    assert_eq!(verdict(&enveloped(1, 0, &hello)).await, FrameError::WrongRole.into());
    assert_eq!(verdict(&enveloped(2, 0, &hello)).await, FrameError::WrongRole.into());

    let (mut asking, mut answering) = pair().await;
    asking.feed("hello").await.unwrap();
    let once = asking.outbox.clone();
    asking.outbox.extend_from_slice(&once);
    asking.flush().await.unwrap();
    answering.receive::<String>().await.unwrap();
    assert_eq!(
        answering.receive::<String>().await.unwrap_err(),
        FrameError::WrongCounter { expected: 1, found: 0 }.into()
    );
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let hello = rmp_serde::to_vec("hello").unwrap();
    let trailing = [&hello[..], b"abc"].concat();
    assert_eq!(verdict(&enveloped(0, 0, &trailing)).await, FrameError::TrailingBytes(3).into());
    let bad: ChannelError = FrameError::BadEncoding.into();
    assert_eq!(verdict(&frame(&[])).await, bad);
    assert_eq!(verdict(&frame(&[0xc1; 40])).await, bad);
    assert_eq!(verdict(&enveloped(0, 0, &[])).await, bad);
    assert_eq!(verdict(&enveloped(0, 0, &rmp_serde::to_vec(&5).unwrap())).await, bad);
    // A string that claims 4 GiB; arrays nested 60,000 deep.
    assert_eq!(verdict(&enveloped(0, 0, &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'])).await, bad);
    assert_eq!(verdict(&enveloped(0, 0, &[0x91; 60_000])).await, bad);
    for length in 0..hello.len() {
        assert_eq!(verdict(&enveloped(0, 0, &hello[..length])).await, bad);
    }
}

#[tokio::test]
async fn an_end_inside_a_message_is_a_cut_even_when_tls_ends_in_order() {
    let whole = enveloped(0, 0, &rmp_serde::to_vec("hello").unwrap());
    for length in 1..whole.len() {
        assert_eq!(verdict(&whole[..length]).await, ChannelError::Cut);
    }
    assert_eq!(verdict(&[]).await, ChannelError::Closed);
}

#[tokio::test]
async fn a_dropped_channel_is_a_cut() {
    let (asking, mut answering) = pair().await;
    drop(asking);
    assert_eq!(answering.receive::<String>().await.unwrap_err(), ChannelError::Cut);
}

#[tokio::test(start_paused = true)]
async fn a_silent_and_a_trickling_peer_time_out() {
    let (_asking, mut answering) = pair().await;
    answering.set_idle_timeout(Duration::from_secs(5));
    assert_eq!(
        answering.receive::<String>().await.unwrap_err(),
        ChannelError::TimedOut(Duration::from_secs(5))
    );

    let (mut asking, mut answering) = pair().await;
    let trickle = async {
        for byte in enveloped(0, 0, &[0x7f; 100]) {
            asking.outbox.push(byte);
            asking.flush().await.unwrap();
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    tokio::select! {
        () = trickle => panic!("should have timed out"),
        got = answering.receive::<String>() => {
            assert_eq!(got.unwrap_err(), ChannelError::TimedOut(Duration::from_secs(30)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_times_out() {
    let (near, far) = duplex(1024);
    let (asker, asked) = (device(), device());
    let (asking, _answering) = tokio::join!(
        Channel::connect(near, &asker, Expect::Anyone),
        Channel::accept(far, &asked, Trust::Anyone),
    );
    let mut asking = asking.unwrap();
    let body = serde_bytes::ByteBuf::from(vec![0; 60_000]);
    let outcome = async {
        loop {
            asking.feed(&body).await?;
        }
    };
    let outcome: Result<(), ChannelError> = outcome.await;
    assert_eq!(outcome.unwrap_err(), ChannelError::TimedOut(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_loses_nothing() {
    let (near, far) = duplex(64);
    let (asker, asked) = (device(), device());
    let (asking, answering) = tokio::join!(
        Channel::connect(near, &asker, Expect::Anyone),
        Channel::accept(far, &asked, Trust::Anyone),
    );
    let (mut asking, mut answering) = (asking.unwrap(), answering.unwrap());
    let body = serde_bytes::ByteBuf::from((0..50_000).map(|i| i as u8).collect::<Vec<_>>());
    asking.feed(&body).await.unwrap();
    let tick = Duration::from_millis(1);
    loop {
        // Both calls are cancelled again and again, at any point.
        let _ = tokio::time::timeout(tick, asking.flush()).await;
        if let Ok(got) = tokio::time::timeout(tick, answering.receive::<serde_bytes::ByteBuf>()).await {
            assert_eq!(got.unwrap(), body);
            return;
        }
    }
}

/// A stream that dies after `left` bytes, counted over both directions.
struct CutAfter {
    io: Option<DuplexStream>,
    left: usize,
}

impl CutAfter {
    fn alive(&mut self) -> Option<Pin<&mut DuplexStream>> {
        if self.left == 0 {
            self.io = None;
        }
        self.io.as_mut().map(Pin::new)
    }
}

impl AsyncRead for CutAfter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut part = vec![0; buf.remaining().min(self.left)];
        let mut part = ReadBuf::new(&mut part);
        let Some(io) = self.alive() else { return Poll::Ready(Ok(())) };
        std::task::ready!(io.poll_read(cx, &mut part))?;
        self.left -= part.filled().len();
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CutAfter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(self.left);
        let Some(io) = self.alive() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let written = std::task::ready!(io.poll_write(cx, &bytes[..most]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.alive() {
            Some(io) => io.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Runs a short exchange over a stream that dies after `cut` bytes. Returns each side's outcome,
/// `Ok` after an orderly end.
async fn exchange(asker: &Identity, asked: &Identity, cut: usize) -> [Result<(), ChannelError>; 2] {
    let (near, far) = duplex(1 << 16);
    let asking = async {
        let near = CutAfter { io: Some(near), left: cut };
        let mut channel = Channel::connect(near, asker, Expect::Device(asked.device())).await?;
        channel.feed("question").await?;
        channel.receive::<String>().await?;
        channel.close().await
    };
    let answering = async {
        let mut channel = Channel::accept(far, asked, Trust::Anyone).await?;
        channel.receive::<String>().await?;
        channel.feed("answer").await?;
        match channel.receive::<String>().await {
            Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => panic!("nothing was sent"),
        }
    };
    tokio::join!(asking, answering).into()
}

#[tokio::test(start_paused = true)]
async fn a_cut_after_every_byte_is_a_cut_on_the_side_that_waits() {
    let (asker, asked) = (device(), device());
    for cut in 0.. {
        let outcomes = exchange(&asker, &asked, cut).await;
        for outcome in &outcomes {
            use ChannelError::{Cut, TurnedAway};
            assert!(matches!(outcome, Ok(()) | Err(Cut | TurnedAway)), "{cut}: {outcome:?}");
        }
        match outcomes {
            [Ok(()), Ok(())] => return assert!(cut > 2000, "{cut}"),
            [_, answering] => assert_eq!(answering, Err(ChannelError::Cut), "{cut}"),
        }
    }
}

#[tokio::test]
async fn debug_shows_no_binding() {
    let (asking, _answering) = pair().await;
    let text = format!("{asking:?}");
    assert!(text.contains("Connected") && !text.contains("binding"), "{text}");
}

/// What waits for a flush is bounded: with a frame's worth of it, it goes.
#[tokio::test]
async fn as_much_as_a_frame_does_not_wait_for_a_flush() {
    let (mut asking, mut answering) = pair().await;
    let before = asking.bytes_out();
    let body = serde_bytes::ByteBuf::from(vec![7; 40_000]);
    asking.feed(&body).await.unwrap();
    assert_eq!(asking.bytes_out(), before);
    asking.feed(&body).await.unwrap();
    assert!(asking.bytes_out() - before > 80_000);
    for _ in 0..2 {
        assert_eq!(answering.receive::<serde_bytes::ByteBuf>().await.unwrap(), body);
        assert_eq!(answering.last_frame(), 4 + 3 + 3 + 40_000);
    }
}

/// Who closes a session stays until the other has closed too, and for two seconds at most.
#[tokio::test(start_paused = true)]
async fn who_closes_waits_a_moment_for_the_other() {
    for (closes_after, waited) in [(Some(1), 1), (Some(3), 2), (None, 2)] {
        let (mut asking, mut answering) = pair().await;
        let begun = tokio::time::Instant::now();
        let other = async {
            tokio::time::sleep(Duration::from_secs(closes_after.unwrap_or(60))).await;
            if closes_after.is_some() {
                answering.close().await.unwrap();
            }
            answering
        };
        let closing = async {
            asking.close_both().await.unwrap();
            (begun.elapsed().as_secs(), asking.receive::<u8>().await)
        };
        let (closed, _) = tokio::join!(closing, other);
        assert_eq!(closed, (waited, Err(ChannelError::Closed)), "{closes_after:?}");
    }
}

/// A refusal would be lost if the stream were dropped with unread bytes; of other errors the peer
/// was told nothing.
#[tokio::test]
async fn the_peer_of_a_refused_handshake_may_read_why_and_no_other_is_waited_for() {
    for (kind, is_refusal) in [
        (io::ErrorKind::InvalidData, true),
        (io::ErrorKind::UnexpectedEof, false),
        (io::ErrorKind::ConnectionReset, false),
        (io::ErrorKind::Other, false),
    ] {
        let (near, mut far) = duplex(64);
        let error = io::Error::from(kind);
        let mut draining = Box::pin(drain_after(&error, near));
        let is_waiting = timeout(Duration::ZERO, &mut draining).await.is_err();
        assert_eq!(is_waiting, is_refusal, "{kind}");
        assert_eq!(far.write_all(b"unread").await.is_ok(), is_refusal, "{kind}");
        if is_refusal {
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "nothing more comes");
            drop(far);
            draining.await;
        }
    }
}
