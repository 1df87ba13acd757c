//! A watch over the requests of the client: what the service answered, in the few facts that faults are
//! sorted by. The errors of the client hold texts only.
//!
//! Each call puts a [`Watch`] into its requests, and finds the outcome of the last one there. Requests for
//! credentials have none.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, Extensions, HeaderMap, HeaderValue};

use crate::sync::lock;

/// Largest answer without a length that is read, in bytes.
const MOST_UNMEASURED: usize = 64 << 20;

/// Most bytes of the body of an error that are searched for a code.
const ERROR_BYTES: usize = 64 << 10;

/// The outcome of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) status: Option<u16>,
    /// The error code of the service, such as `NoSuchBucket`.
    pub(super) code: Option<String>,
    /// The region of the bucket, where the service names it.
    pub(super) region: Option<String>,
    pub(super) asked_for_part: bool,
    pub(super) transport: Option<HttpErrorKind>,
    /// What came in place of the object.
    pub(super) disguise: Option<&'static str>,
}

/// Records the outcome of the requests of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// For the options of a request.
    pub(super) fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    pub(super) fn seen(&self) -> Seen {
        lock(&self.0).clone()
    }
}

/// Connects as usual, with a watch over each request.
#[derive(Debug)]
pub(super) struct Watched {
    /// Whether answers are files of a web server: a page in HTML stands for one that is missing.
    pub(super) is_web: bool,
}

impl HttpConnector for Watched {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(WatchedService { inner, is_web: self.is_web }))
    }
}

#[derive(Debug)]
struct WatchedService {
    inner: HttpClient,
    is_web: bool,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for WatchedService {
    fn call<'own, 'answer>(&'own self, request: HttpRequest) -> Answer<'answer>
    where
        'own: 'answer,
        Self: 'answer,
    {
        Box::pin(self.watched(request))
    }
}

impl WatchedService {
    async fn watched(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(watch) = request.extensions().get::<Watch>().cloned() else {
            return self.inner.execute(request).await;
        };
        let asked_for_part = request.headers().contains_key("range");
        let is_get = request.method().as_str() == "GET";
        let mut seen = Seen { asked_for_part, ..Seen::default() };
        let answer = self.inner.execute(request).await;
        let answer = match answer {
            Ok(answer) if answer.status().is_success() => {
                seen.status = Some(answer.status().as_u16());
                seen.disguise = disguise(answer.headers(), self.is_web && is_get);
                match seen.disguise {
                    // The client must not take it for the object.
                    Some(text) => {
                        Err(HttpError::new(HttpErrorKind::Decode, std::io::Error::other(text)))
                    }
                    None if is_get => measured(answer).await,
                    None => Ok(answer),
                }
            }
            Ok(answer) => {
                seen.status = Some(answer.status().as_u16());
                seen.region = header(answer.headers(), "x-amz-bucket-region").map(str::to_owned);
                with_code(answer, &mut seen).await
            }
            Err(error) => {
                seen.transport = Some(error.kind());
                Err(error)
            }
        };
        *lock(&watch.0) = seen;
        answer
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What an answer holds in place of the bytes of the object, if it does.
fn disguise(headers: &HeaderMap, is_file: bool) -> Option<&'static str> {
    let encoding = header(headers, "content-encoding").unwrap_or_default();
    if !matches!(encoding, "" | "identity" | "aws-chunked") {
        return Some("it is sent with a Content-Encoding");
    }
    let kind = header(headers, "content-type").unwrap_or_default();
    (is_file && kind.to_ascii_lowercase().starts_with("text/html")).then_some("a web page")
}

/// An answer with its length. Some servers send files without one, and the client refuses these.
async fn measured(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    if answer.headers().contains_key("content-length") {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    let body = body.bytes().await?;
    if body.len() > MOST_UNMEASURED {
        let error = std::io::Error::other("a long answer without a length");
        return Err(HttpError::new(HttpErrorKind::Decode, error));
    }
    parts.headers.insert("content-length", HeaderValue::from(body.len()));
    Ok(HttpResponse::from_parts(parts, body.into()))
}

/// Finds the code in the body of an error: `<Code>NoSuchKey</Code>` in XML.
async fn with_code(answer: HttpResponse, seen: &mut Seen) -> Result<HttpResponse, HttpError> {
    let (parts, body) = answer.into_parts();
    // A body that breaks off is no reason to forget the status.
    let body = body.bytes().await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES)]);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code).or_else(|| header(&parts.headers, "x-ms-error-code"));
    seen.code = code.filter(|code| is_code(code)).map(str::to_owned);
    Ok(HttpResponse::from_parts(parts, body.into()))
}

/// One word: a server may put anything there, and it ends in the log.
fn is_code(code: &str) -> bool {
    (1..=60).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
