//! The queues: one a receiver, each with a task that sends in order and tries again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::{NotTold, Refusal};
use super::{command, mail, ping, webhook};
use crate::clock::Clock;
use crate::domain::{Backoff, Notify, Occasion, SecretRef, Timestamp, Way};
use crate::observe::{AlertKind, News, Turn, escaped};
use crate::plain::chain;

/// Most messages that wait for a receiver. Repeats are folded before they come here: more wait only
/// where each run is told of, and then the newest say nothing that the others do not.
const WAITING: usize = 64;
/// Longest time for one try, a secret that a program prints included.
const ATTEMPT: Duration = Duration::from_mins(2);
/// The waits between tries: the first failure may be a blip, the longest finds a mail server within a
/// quarter of an hour once it is back.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(10), limit: Duration::from_mins(15) };
/// The wait between tries once the process is to end.
const HURRY: Duration = Duration::from_millis(500);
/// How long it is tried to say that something is wrong, or over: what breaks at night with the line
/// itself is still told in the morning.
const ALERT_PATIENCE: Duration = Duration::from_hours(24);
/// The same for a word of every run: later there is a newer one.
const WORD_PATIENCE: Duration = Duration::from_mins(10);
/// Most tries for one message, whatever the clock does.
const MOST_TRIES: u32 = 200;
/// Most tries where the receiver refuses for good: another one could be a proxy's answer while the
/// receiver is started anew.
const MOST_REFUSALS: u32 = 3;

/// Fetches a secret; the text says why it cannot be had, without a part of it. May block.
pub type FetchSecret = dyn Fn(&SecretRef) -> Result<SecretString, String> + Send + Sync;

/// What telling needs to know.
#[derive(Clone)]
pub struct Context {
    /// This machine's name: letters, digits, `-` and `.`.
    pub host: String,
    /// The time of day and random numbers.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub secrets: Arc<FetchSecret>,
    /// Is called with the id of news that all who wanted them know, or that were given up. Must not
    /// block for long.
    pub done_with: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Sends news to those who want them.
#[derive(Debug)]
pub struct Outbound {
    context: Context,
    queues: Vec<(Arc<Notify>, mpsc::Sender<Message>)>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    left: Arc<AtomicUsize>,
}

/// News on their way to one receiver.
#[derive(Debug)]
struct Message {
    news: Arc<News>,
    /// To how many receivers they are still on their way.
    receivers: Arc<AtomicUsize>,
}

impl Outbound {
    /// Nobody is told of anything yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            queues: Vec::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            left: Arc::default(),
        }
    }

    /// Tells news to those of these who want them, each once. Does not wait. Needs a tokio runtime.
    pub fn tell<'n>(&mut self, news: News, receivers: impl IntoIterator<Item = &'n Notify>) {
        let mut wanting: Vec<&Notify> = Vec::new();
        for notify in receivers {
            if wants(notify, &news) && !wanting.contains(&notify) {
                wanting.push(notify);
            }
        }
        if wanting.is_empty() {
            return (self.context.done_with)(&news.id);
        }
        let (news, count) = (Arc::new(news), Arc::new(AtomicUsize::new(wanting.len())));
        for notify in wanting {
            let message = Message { news: Arc::clone(&news), receivers: Arc::clone(&count) };
            self.left.fetch_add(1, Ordering::SeqCst);
            if let Err(refused) = self.queue(notify).try_send(message) {
                let message = refused.into_inner();
                let (to, what) = (notify.way.to_string(), message.news.headline());
                warn!(%to, %what, waiting = WAITING, "A message was dropped: too many wait for this receiver.");
                self.left.fetch_sub(1, Ordering::SeqCst);
                message.done(&self.context);
            }
        }
    }

    /// Tries once to tell a receiver, whatever it wants to hear of.
    pub async fn try_once(context: &Context, notify: &Notify, news: News) -> Result<(), NotTold> {
        let (notify, left) = (Arc::new(notify.clone()), Arc::default());
        let sender = Sender { notify, context: context.clone(), stop: CancellationToken::new(), left };
        timeout(ATTEMPT, sender.attempt(&Arc::new(news))).await.unwrap_or(Err(NotTold::TooSlow(ATTEMPT)))
    }

    /// How many messages are on their way.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// Lets what is on its way get out, for as long as `grace`. The number of messages that did not
    /// comes back; their news are not done with.
    pub async fn close(mut self, grace: Duration) -> usize {
        self.stop.cancel();
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        drop(timeout(grace, all).await);
        self.tasks.shutdown().await;
        self.left()
    }

    /// The queue of a receiver; it has its own as long as the process lives.
    fn queue(&mut self, notify: &Notify) -> mpsc::Sender<Message> {
        if let Some((_, queue)) = self.queues.iter().find(|(known, _)| **known == *notify) {
            return queue.clone();
        }
        let (queue, messages) = mpsc::channel(WAITING);
        let notify = Arc::new(notify.clone());
        let sender = Sender {
            notify: Arc::clone(&notify),
            context: self.context.clone(),
            stop: self.stop.clone(),
            left: Arc::clone(&self.left),
        };
        self.tasks.spawn(sender.work(messages));
        self.queues.push((notify, queue.clone()));
        queue
    }
}

/// Whether a receiver wants to be told. Pings are a word of every run; the others hear of changes.
fn wants(notify: &Notify, news: &News) -> bool {
    let is_ping = matches!(notify.way, Way::Ping(_));
    let on = |occasion: Occasion| notify.on.contains(&occasion);
    match (news.turn, news.kind) {
        (Turn::Test, _) => true,
        (Turn::EndedBadly, _) => is_ping && (on(Occasion::Failure) || on(Occasion::Guard)),
        // A run that ended says the same, and a certificate is no run.
        (Turn::Broke | Turn::WellAgain, AlertKind::Run | AlertKind::Certificate) if is_ping => false,
        (Turn::Began | Turn::EndedWell | Turn::Broke | Turn::WellAgain, _) => on(news.occasion),
    }
}

impl Message {
    fn done(self, context: &Context) {
        if self.receivers.fetch_sub(1, Ordering::SeqCst) == 1 {
            (context.done_with)(&self.news.id);
        }
    }

    fn patience(&self) -> Duration {
        match self.news.turn {
            Turn::Broke | Turn::WellAgain => ALERT_PATIENCE,
            Turn::Began | Turn::EndedWell | Turn::EndedBadly | Turn::Test => WORD_PATIENCE,
        }
    }
}

/// Sends to one receiver.
struct Sender {
    notify: Arc<Notify>,
    context: Context,
    stop: CancellationToken,
    left: Arc<AtomicUsize>,
}

impl Sender {
    async fn work(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            self.deliver(&message).await;
            self.left.fetch_sub(1, Ordering::SeqCst);
            message.done(&self.context);
        }
    }

    /// Sends a message, or gives it up.
    async fn deliver(&self, message: &Message) {
        let (began, to) = (self.context.clock.now(), self.notify.way.to_string());
        let (what, mut refusals) = (message.news.headline(), 0);
        for attempt in 1..=MOST_TRIES {
            let error = match timeout(ATTEMPT, self.attempt(&message.news)).await {
                Ok(Ok(())) => {
                    info!(%to, %what, "A message was sent.");
                    return;
                }
                Ok(Err(error)) => error,
                Err(_) => NotTold::TooSlow(ATTEMPT),
            };
            refusals += u32::from(error.refusal() == Refusal::Lasting);
            let cause = described(&error);
            let spent = attempt == MOST_TRIES || refusals >= MOST_REFUSALS;
            if spent || self.is_too_late(began, message.patience()) {
                warn!(%to, %what, %cause, attempt, "A message was given up: nobody was told by this way.");
                return;
            }
            info!(%to, %what, %cause, attempt, "A message could not be sent; it is tried again.");
            self.wait(attempt).await;
        }
    }

    fn is_too_late(&self, began: Timestamp, patience: Duration) -> bool {
        self.context.clock.now().since(began) > patience
    }

    /// Waits before the next try, for less where the process is to end.
    async fn wait(&self, attempt: u32) {
        if self.stop.is_cancelled() {
            return sleep(HURRY).await;
        }
        let delay = BACKOFF.delay(attempt + 1, self.context.clock.random());
        tokio::select! {
            () = sleep(delay) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn attempt(&self, news: &Arc<News>) -> Result<(), NotTold> {
        let (host, names) = (&self.context.host, self.notify.names);
        match &self.notify.way {
            Way::Command(words) => command::send(words, news, host, names).await,
            Way::Email(email) => {
                let login = email.smtp.login.as_ref();
                let password = match login.map(|(_, password)| password.clone()) {
                    Some(reference) => {
                        let secrets = Arc::clone(&self.context.secrets);
                        Some(blocking(move || secrets(&reference).map_err(NotTold::Secret)).await?)
                    }
                    None => None,
                };
                Box::pin(mail::send(email, password.as_ref(), news, host, names)).await
            }
            Way::Webhook(hook) => {
                let (hook, news, context) = (hook.clone(), Arc::clone(news), self.context.clone());
                blocking(move || {
                    let secret = hook.secret.as_ref().map(|reference| (context.secrets)(reference));
                    let secret = secret.transpose().map_err(NotTold::Secret)?;
                    webhook::send(&hook, secret.as_ref(), &news, &context.host, names, context.clock.now())
                })
                .await
            }
            Way::Ping(ping) => {
                let (ping, news, host) = (ping.clone(), Arc::clone(news), host.clone());
                blocking(move || ping::send(&ping, &news, &host, names)).await
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotTold> + Send + 'static,
) -> Result<T, NotTold> {
    spawn_blocking(work).await.unwrap_or(Err(NotTold::Died))
}

/// An error with the cause beneath it, as one text.
pub fn described(error: &NotTold) -> String {
    escaped(&chain(error)).into_owned()
}

#[cfg(test)]
mod tests;
