//! A storage around another one that ignores conditions, or fails, delays or loses requests by rule: [`FaultyStore`].

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Put,
    Get,
    Delete,
    List,
    CreateUpload,
    Part,
    CompleteUpload,
    AbortUpload,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request fails and has no effect.
    Fails,
    /// The request is refused, because of the credentials.
    Denied,
    /// The request has its effect, and its response is lost.
    ResponseIsLost,
    /// The request has its effect, its response is lost, and the repeated request is refused because of the credentials.
    RepeatIsDenied,
    /// The request has no effect, because an object exists.
    Exists,
    /// The request takes this time, and then succeeds.
    Takes(Duration),
}

/// Which requests have an outcome: those of a kind whose key contains a text.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) call: Call,
    /// A part of the key, such as `/a/` for records and `/d/` for data.
    pub(crate) key: &'static str,
    pub(crate) outcome: Outcome,
    /// How many requests it has left.
    pub(crate) times: usize,
}

/// What the wrapper has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Each request that was sent, in order.
    pub(crate) calls: Vec<(Call, String)>,
    /// The uploads that were created and neither completed nor aborted.
    pub(crate) open_uploads: Vec<String>,
}

/// The rules, and what was seen. Shared with uploads.
#[derive(Debug, Default)]
struct Control {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Seen>,
    /// The bytes of parts and puts in flight.
    in_flight: AtomicUsize,
    /// The largest value of `in_flight`.
    max_in_flight: AtomicUsize,
    /// The bytes of parts and puts that have ended.
    sent: AtomicUsize,
}

impl Control {
    /// What happens to a request. `None`: it is sent as it is.
    fn next(&self, call: Call, key: &str) -> Option<Outcome> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).calls.push((call, key.to_owned()));
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule =
            rules.iter_mut().find(|rule| rule.call == call && key.contains(rule.key) && rule.times > 0)?;
        rule.times -= 1;
        Some(rule.outcome)
    }

    /// Runs `request`, with the outcome that the rules say.
    async fn run<T>(&self, call: Call, key: &str, request: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next(call, key) {
            None => request.await,
            Some(Outcome::Fails) => Err(failed()),
            Some(Outcome::Denied) => {
                Err(Error::PermissionDenied { path: key.to_owned(), source: "denied by a rule".into() })
            }
            Some(Outcome::ResponseIsLost) => {
                request.await?;
                Err(failed())
            }
            Some(Outcome::RepeatIsDenied) => {
                request.await?;
                Err(Error::PermissionDenied { path: key.to_owned(), source: "denied by a rule".into() })
            }
            Some(Outcome::Exists) => {
                Err(Error::AlreadyExists { path: key.to_owned(), source: "exists by a rule".into() })
            }
            Some(Outcome::Takes(time)) => {
                tokio::time::sleep(time).await;
                request.await
            }
        }
    }
}

/// Counts bytes as in flight until it is dropped.
struct InFlight(Arc<Control>, usize);

impl InFlight {
    fn new(control: &Arc<Control>, bytes: usize) -> Self {
        let now = control.in_flight.fetch_add(bytes, Ordering::SeqCst) + bytes;
        control.max_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(control), bytes)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(self.1, Ordering::SeqCst);
        self.0.sent.fetch_add(self.1, Ordering::SeqCst);
    }
}

fn failed() -> Error {
    Error::Generic { store: "FaultyStore", source: "failed by a rule".into() }
}

/// A storage around another one.
#[derive(Debug, Clone)]
pub(crate) struct FaultyStore<S> {
    inner: Arc<S>,
    honours_conditions: bool,
    control: Arc<Control>,
}

impl<S: ObjectStore> FaultyStore<S> {
    /// Wraps `inner` without rules.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner: Arc::new(inner), honours_conditions: true, control: Arc::default() }
    }

    /// Wraps `inner`, and ignores `PutMode::Create`.
    pub(crate) fn without_conditions(inner: S) -> Self {
        Self { honours_conditions: false, ..Self::new(inner) }
    }

    /// Adds a rule.
    pub(crate) fn add_rule(&self, call: Call, key: &'static str, outcome: Outcome, times: usize) {
        let rule = Rule { call, key, outcome, times };
        self.control.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Removes all rules.
    pub(crate) fn clear_rules(&self) {
        self.control.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The number of requests of this kind whose key contains `key`.
    pub(crate) fn count(&self, call: Call, key: &str) -> usize {
        self.keys_of(call, key).len()
    }

    /// The number of all requests.
    pub(crate) fn requests(&self) -> usize {
        self.control.seen.lock().unwrap_or_else(PoisonError::into_inner).calls.len()
    }

    /// The keys of the requests of this kind whose key contains `key`.
    pub(crate) fn keys_of(&self, call: Call, key: &str) -> Vec<String> {
        let seen = self.control.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = seen.calls.iter().filter(|(seen, seen_key)| *seen == call && seen_key.contains(key));
        calls.map(|(_, key)| key.clone()).collect()
    }

    /// The uploads that were created and neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> Vec<String> {
        self.control.seen.lock().unwrap_or_else(PoisonError::into_inner).open_uploads.clone()
    }

    /// The bytes of parts and puts that have ended.
    pub(crate) fn sent_bytes(&self) -> usize {
        self.control.sent.load(Ordering::SeqCst)
    }

    /// The largest number of bytes that were in flight at the same time.
    pub(crate) fn max_in_flight(&self) -> usize {
        self.control.max_in_flight.load(Ordering::SeqCst)
    }
}

impl<S: ObjectStore> fmt::Display for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for FaultyStore<S> {
    async fn put_opts(&self, key: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if !self.honours_conditions && options.mode == PutMode::Create {
            options.mode = PutMode::Overwrite;
        }
        let _in_flight = InFlight::new(&self.control, payload.content_length());
        self.control.run(Call::Put, key.as_ref(), self.inner.put_opts(key, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let create = async {
            let inner = self.inner.put_multipart_opts(key, options).await?;
            let mut seen = self.control.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.open_uploads.push(key.to_string());
            Ok(inner)
        };
        let inner = self.control.run(Call::CreateUpload, key.as_ref(), create).await?;
        Ok(Box::new(FaultyUpload { inner, key: key.to_string(), control: Arc::clone(&self.control) }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.control.run(Call::Get, key.as_ref(), self.inner.get_opts(key, options)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, control) = (Arc::clone(&self.inner), Arc::clone(&self.control));
        keys.then(move |key| {
            let (inner, control) = (Arc::clone(&inner), Arc::clone(&control));
            async move {
                let key = key?;
                let delete = async {
                    let one = futures_util::stream::iter([Ok(key.clone())]).boxed();
                    inner.delete_stream(one).next().await.unwrap_or_else(|| Err(failed()))
                };
                control.run(Call::Delete, key.as_ref(), delete).await
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, control, prefix) = (Arc::clone(&self.inner), Arc::clone(&self.control), prefix.cloned());
        futures_util::stream::once(async move {
            let name = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
            match control.run(Call::List, &name, async { Ok(inner.list(prefix.as_ref())) }).await {
                Ok(listing) => listing,
                Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload to a [`FaultyStore`].
#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    key: String,
    control: Arc<Control>,
}

impl FaultyUpload {
    fn mark_closed(&self) {
        let mut seen = self.control.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.open_uploads.retain(|open| *open != self.key);
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let in_flight = InFlight::new(&self.control, payload.content_length());
        let (part, control, key) =
            (self.inner.put_part(payload), Arc::clone(&self.control), self.key.clone());
        Box::pin(async move {
            let _in_flight = in_flight;
            control.run(Call::Part, &key, part).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let control = Arc::clone(&self.control);
        let result = control.run(Call::CompleteUpload, &self.key, self.inner.complete()).await?;
        self.mark_closed();
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        let control = Arc::clone(&self.control);
        control.run(Call::AbortUpload, &self.key, self.inner.abort()).await?;
        self.mark_closed();
        Ok(())
    }
}
