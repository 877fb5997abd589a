//! A message as mail: plain words, over TLS always.

use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use super::distrust::distrust;
use super::error::{NotTold, Refusal};
use super::http::in_file;
use crate::domain::{Email, FileNames, MailAddress, Smtp, SmtpTls};
use crate::observe::{News, escaped};
use crate::plain::{chain, without_numbers};

/// Longest wait for each answer of the mail server: RFC 5321, section 4.5.3.2, has more, but a
/// message that is tried again later may be given up sooner.
const REPLY: Duration = Duration::from_secs(30);
/// Longest part of what a mail server says that is shown.
const MAX_SAID_CHARS: usize = 300;

/// Hands the message to the mail server. An exchange that is dropped midway may have sent it.
pub(super) async fn send(
    email: &Email,
    password: Option<&SecretString>,
    news: &News,
    host: &str,
    names: FileNames,
) -> Result<(), NotTold> {
    let message = message(email, news, host, names)?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::relay(&email.smtp.host)
        .map_err(|error| failed(&error))?
        .port(email.smtp.port)
        .tls(tls(&email.smtp)?)
        .hello_name(ClientId::Domain(host.to_owned()))
        .timeout(Some(REPLY));
    if let (Some((username, _)), Some(password)) = (&email.smtp.login, password) {
        let login = Credentials::new(username.clone(), password.expose_secret().to_owned());
        transport = transport.credentials(login);
    }
    transport.build().send(message).await.map(drop).map_err(|error| failed(&error))
}

fn tls(smtp: &Smtp) -> Result<Tls, NotTold> {
    let mut parameters = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        parameters = parameters.certificate_store(CertificateStore::None);
        for der in in_file(path)? {
            parameters = parameters
                .add_root_certificate(Certificate::from_der(der.to_vec()).map_err(|error| failed(&error))?);
        }
    }
    let parameters = parameters.build_rustls().map_err(|error| failed(&error))?;
    Ok(match smtp.tls {
        SmtpTls::Implicit => Tls::Wrapper(parameters),
        SmtpTls::Starttls => Tls::Required(parameters),
    })
}

/// The mail. Its subject is made of names that hold letters, digits and a few signs, and of our words.
fn message(email: &Email, news: &News, host: &str, names: FileNames) -> Result<Message, NotTold> {
    let wrong = |error: &dyn std::error::Error| NotTold::Message(error.to_string());
    let mailbox = |address: &MailAddress| {
        address.as_str().parse().map(|address| Mailbox::new(None, address)).map_err(|error| wrong(&error))
    };
    let mut message = Message::builder().from(mailbox(&email.from)?);
    for address in &email.to {
        message = message.to(mailbox(address)?);
    }
    let id: String = news.id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    message
        .subject(format!("[nightferry {host}] {}", news.headline()))
        // The same for each try, so that a mail that came twice is shown once.
        .message_id(Some(format!("<{id}@{host}>")))
        // So that nobody's absence note answers it: RFC 3834, section 5.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(ContentType::TEXT_PLAIN)
        .body(news.text(host, names))
        .map_err(|error| wrong(&error))
}

fn failed(error: &lettre::transport::smtp::Error) -> NotTold {
    if let Some(reason) = distrust(error) {
        return NotTold::Distrust(reason);
    }
    let refusal = if error.is_permanent() { Refusal::Lasting } else { Refusal::Passing };
    let text: String = without_numbers(&chain(error)).chars().take(MAX_SAID_CHARS).collect();
    NotTold::Mail { text: escaped(&text).into_owned(), refusal }
}
