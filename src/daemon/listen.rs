//! Metrics and health over HTTP, for monitors. Nothing can be changed here.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::metrics;
use super::status::Status;

/// Connections at a time; others wait.
const MOST_CONNECTIONS: usize = 512;

/// How long a client may take for its request, and for the whole of it.
const HEAD_TIME: Duration = Duration::from_secs(5);
const WHOLE_TIME: Duration = Duration::from_secs(20);

/// Pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the state.
pub(super) type Tell = Arc<dyn Fn() -> Status + Send + Sync>;

/// Takes the address, so that a mistake is known at the start.
///
/// # Errors
/// The operating system's reason.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers on a thread of its own, until the program ends.
///
/// # Errors
/// The operating system's reason.
pub(super) fn serve(listener: TcpListener, tell: Tell) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        if let Err(error) = runtime.block_on(accept(listener, tell)) {
            tracing::error!(%error, "metrics are not served");
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(run)?;
    Ok(())
}

async fn accept(listener: TcpListener, tell: Tell) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let tell = tell.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = answer(&request, &tell);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false);
            let connection = server.serve_connection(TokioIo::new(stream), answer);
            // What a client does wrong costs nobody but the client.
            let _ = tokio::time::timeout(WHOLE_TIME, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, tell: &Tell) -> Response<Full<Bytes>> {
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, media_type, text) = match request.uri().path() {
        _ if !is_get => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
        "/metrics" => (StatusCode::OK, metrics::MEDIA_TYPE, metrics::text(&tell())),
        "/healthz" => health(&tell()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /healthz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media_type));
    response
}

/// A daemon without its cache is slow, and well.
fn health(status: &Status) -> (StatusCode, &'static str, String) {
    if status.mounts.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "no mount\n".to_owned());
    }
    let works = |cache: &zarrims::cache::CacheStatus| cache.health == zarrims::cache::Health::Works;
    let is_cached = status.engine.cache.as_ref().is_none_or(works);
    let text = if is_cached { "ok\n" } else { "ok; the cache takes no bricks\n" };
    (StatusCode::OK, "text/plain", text.to_owned())
}
