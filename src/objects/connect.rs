//! From an address and options to a client of the service.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::{
    BackoffConfig, ClientOptions, HeaderMap, HeaderValue, ObjectStore, RetryConfig,
};

use super::address::{Address, Service, percent_decoded};
use super::fault::{Fault, ObjectError};
use super::network::connections;
use super::watch::Watched;

/// Time to connect.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Where a request to S3 has the name of the bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.endpoint/key`.
    Virtual,
}

/// How to get to the objects. Credentials are no part of it: they come from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Options {
    /// Address of the service, where it is not the usual one.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Where a request has the name of the bucket.
    pub addressing: Addressing,
    /// Requests are not signed.
    pub anonymous: bool,
    /// Time for one call, all its tries included; more where bytes come.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            addressing: Addressing::default(),
            anonymous: false,
            timeout: Duration::from_secs(20),
        }
    }
}

/// Variables that hold the address of the service, the first of them wins.
const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const AZURE_ENDPOINTS: [&str; 2] = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"];
const AZURE_ACCOUNTS: [&str; 1] = ["AZURE_STORAGE_ACCOUNT_NAME"];

fn of_environment(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

impl Options {
    /// Which service an address means here, empty for the usual one: another one has other objects at the same
    /// address. It holds no credentials.
    #[must_use]
    pub fn service_at(&self, service: Service) -> String {
        let (endpoint, account) = match service {
            Service::S3 => (of_environment(&S3_ENDPOINTS), None),
            Service::Azure => (of_environment(&AZURE_ENDPOINTS), of_environment(&AZURE_ACCOUNTS)),
            Service::Gcs | Service::Web | Service::Folder => (None, None),
        };
        let parts = [self.endpoint.clone().or(endpoint), account];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// A client, and its listing in pages where it has one.
pub(super) struct Connected {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
}

impl Connected {
    fn with_pages<T: ObjectStore + PaginatedListStore>(store: T) -> Self {
        let store = Arc::new(store);
        Self { store: store.clone(), pages: Some(store) }
    }
}

/// Makes the client. No request is sent.
///
/// # Errors
/// [`Fault::Other`] and [`Fault::Credentials`] with what is wrong with the options or the environment.
pub(super) fn connect(address: &Address, options: &Options) -> Result<Connected, ObjectError> {
    let connected = match address.service {
        Service::S3 => s3(address, options),
        Service::Gcs => gcs(address, options),
        Service::Azure => azure(address, options),
        Service::Web => return web(address),
        Service::Folder => LocalFileSystem::new_with_prefix(&address.host)
            .map(|store| Connected { store: Arc::new(store), pages: None }),
    };
    connected.map_err(|error| ObjectError::new(Fault::Other, setup_reason(&error)))
}

fn s3(address: &Address, options: &Options) -> object_store::Result<Connected> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&address.host)
        .with_virtual_hosted_style_request(options.addressing == Addressing::Virtual)
        .with_skip_signature(options.anonymous)
        .with_retry(no_retries())
        .with_http_connector(Watched { is_web: false });
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let endpoint = options.endpoint.clone().or_else(|| of_environment(&S3_ENDPOINTS));
    if let Some(endpoint) = &endpoint {
        // The client expects the bucket in the endpoint then.
        let endpoint = match (options.addressing, endpoint.split_once("://")) {
            (Addressing::Virtual, Some((scheme, host))) => {
                format!("{scheme}://{}.{host}", address.host)
            }
            _ => endpoint.clone(),
        };
        // Variables for S3 alone would win over an option otherwise.
        builder = builder.with_config(object_store::aws::AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let client_options = client(is_plain(endpoint.as_deref()));
    builder.with_client_options(client_options).build().map(Connected::with_pages)
}

fn gcs(address: &Address, options: &Options) -> object_store::Result<Connected> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&address.host)
        .with_skip_signature(options.anonymous)
        .with_retry(no_retries())
        .with_http_connector(Watched { is_web: false })
        .with_client_options(client(is_plain(options.endpoint.as_deref())));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder.build().map(Connected::with_pages)
}

fn azure(address: &Address, options: &Options) -> object_store::Result<Connected> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_skip_signature(options.anonymous)
        .with_retry(no_retries())
        .with_http_connector(Watched { is_web: false })
        .with_client_options(client(is_plain(options.endpoint.as_deref())));
    builder = match address.host.split_once('@') {
        Some(_) => builder.with_url(format!("abfss://{}", address.host)),
        None => builder.with_container_name(&address.host),
    };
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder.build().map(Connected::with_pages)
}

fn web(address: &Address) -> Result<Connected, ObjectError> {
    let Address { host, prefix, secret, .. } = address;
    let query = secret.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut headers = HeaderMap::new();
    if let Some(user) = &secret.user {
        let user = percent_decoded(user);
        let value = format!("Basic {}", base64(user.as_bytes()));
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| ObjectError::new(Fault::Credentials, ""))?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    let built = HttpBuilder::new()
        .with_url(format!("{host}/{prefix}{query}"))
        .with_retry(no_retries())
        .with_http_connector(Watched { is_web: true })
        .with_client_options(client(true).with_default_headers(headers))
        .build();
    // The text of the error may hold the address.
    let store = built.map_err(|_| ObjectError::new(Fault::Other, "the address is not a URL"))?;
    Ok(Connected { store: Arc::new(store), pages: None })
}

/// Whether requests to an endpoint are not encrypted.
fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// The client has no limits of time of its own but that for a connection: see [`super::patience`].
fn client(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("zarrims/", env!("CARGO_PKG_VERSION"))))
        .with_allow_http(allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIME)
        .with_pool_max_idle_per_host(connections())
}

/// The client does not try again: a call repeats all it does (`patience`).
fn no_retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO }
}

/// What is wrong with the set-up: the first line of what the client says. It names variables and files, and no
/// values of secrets.
fn setup_reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("Generic ").unwrap_or(line).chars().take(200).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
        let number = number << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
