//! How the demo is asked to end: Ctrl-C, a termination, Enter.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Watches for signals. The commands that the demo runs do so as well, which keeps a signal from
/// ending the process: so the demo has to look after it.
pub(crate) struct Interrupt {
    wishes: Receiver<()>,
    wish: SyncSender<()>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    GoOn,
    /// To end.
    Stop,
}

impl Interrupt {
    pub(crate) fn watch() -> io::Result<Self> {
        // One wish is as good as many.
        let (wish, wishes) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let sender = wish.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // Full means that the wish is known already.
                    sender.try_send(()).unwrap_or(());
                }
            });
        });
        Ok(Self { wishes, wish })
    }

    /// Waits that long, or until somebody asks to stop.
    pub(crate) fn wait(&self, time: Duration) -> Wish {
        match self.wishes.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Wish::GoOn,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Wish::Stop,
        }
    }

    /// Waits for Enter, the end of standard input, or a signal.
    pub(crate) fn wait_for_enter(&self) {
        let sender = self.wish.clone();
        thread::spawn(move || {
            // However reading ends, there is nothing more to wait for.
            drop(io::stdin().read_line(&mut String::new()));
            sender.try_send(()).unwrap_or(());
        });
        // Fails only where nobody can ask any more.
        self.wishes.recv().unwrap_or(());
    }
}
