//! Waits for the computer to be suspended or shut down, as logind announces it over the system's
//! D-Bus.

use zbus::{
    Connection, MatchRule, MessageStream, OwnedFd, export::ordered_stream::OrderedStreamExt, message,
};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";

/// Delays the sleep of the computer until it is dropped, if logind granted that.
pub(crate) struct Delay(#[allow(dead_code, reason = "it has an effect while it is open")] Option<OwnedFd>);

/// Announcements of logind.
struct Announcements {
    stream: MessageStream,
    delay: Delay,
}

/// Completes when logind announces that the computer is about to sleep. Never completes where
/// there is no logind: the clocks tell later.
pub(crate) async fn announced() -> Delay {
    if let Ok(mut announcements) = Announcements::begin().await {
        while let Some(message) = announcements.stream.next().await {
            let begins = message.is_ok_and(|message| message.body().deserialize() == Ok(true));
            if begins {
                return announcements.delay;
            }
        }
    }
    std::future::pending().await
}

impl Announcements {
    async fn begin() -> zbus::Result<Self> {
        let connection = Connection::system().await?;
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender(NAME)
            .path(PATH)
            .interface(INTERFACE)
            .member("PrepareForSleep")
            .build()?;
        let stream = MessageStream::for_match_rule(rule, &connection, None).await?;
        let words = ("sleep", "Stronghold", "wipes its key", "delay");
        let delay = connection.call_method(Some(NAME), PATH, Some(INTERFACE), "Inhibit", &words).await;
        // Without the delay, the key may be wiped just after the computer wakes.
        let delay = delay.ok().and_then(|reply| reply.body().deserialize().ok());
        Ok(Self { stream, delay: Delay(delay) })
    }
}
