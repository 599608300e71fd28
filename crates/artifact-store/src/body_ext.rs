//! Bodies of a put from files and from HTTP messages: [`BodyExt`].
//!
//! The methods are here and not in the core, because the core must never know an async runtime or HTTP.

use artifact_store_core::Body;

#[cfg(feature = "tokio")]
use std::{io, path::Path};

/// The largest chunk that is read from a file at once, in bytes. The body would split a larger chunk into chunks of
/// this size.
#[cfg(feature = "tokio")]
const FILE_CHUNK_BYTES: usize = artifact_store_core::MAX_PIECE_BYTES;

/// More ways to make a [`Body`].
pub trait BodyExt: Sized {
    /// A body that streams the file `path`. The returned future opens the file. The bytes are read later, when the
    /// store asks for them, on tokio's threads for blocking calls.
    ///
    /// The length of the body is the length of the file when it is opened. If the file has another length when it is
    /// read, the put fails with [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing is stored. The body
    /// of a pipe or a device has no announced length.
    ///
    /// # Errors
    /// The errors of the file system; [`IsADirectory`](io::ErrorKind::IsADirectory) if `path` is a folder.
    ///
    /// # Examples
    /// ```
    /// use artifact_store::prelude::*;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("report.txt");
    /// # std::fs::write(&path, "a report")?;
    /// # let store = artifact_store::open(&"inmem:".parse()?).await?;
    /// # let scope = Scope::new("acme", "ada", "session-1")?;
    /// let body = Body::from_path(&path).await?.with_limit(1 << 30);
    /// let put = store.put(&scope, body, PutOptions::default()).await?;
    /// assert_eq!(put.record.size, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    fn from_path(path: impl AsRef<Path>) -> impl Future<Output = io::Result<Self>> + Send + 'static;

    /// A body that streams the data of an HTTP message, for example of an `axum::body::Body`. Trailers are ignored. If
    /// the message announces its length, the body has this length.
    ///
    /// If the message ends with an error, the put fails with [`InvalidArgument`](crate::ErrorKind::InvalidArgument),
    /// and nothing is stored. The source of the put's error is the error of the message.
    #[cfg(feature = "http-body")]
    fn from_http_body<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<artifact_store_core::BoxError>;
}

impl BodyExt for Body {
    #[cfg(feature = "tokio")]
    fn from_path(path: impl AsRef<Path>) -> impl Future<Output = io::Result<Self>> + Send + 'static {
        let path = path.as_ref().to_owned();
        async move {
            let file = tokio::fs::File::open(&path).await?;
            let metadata = file.metadata().await?;
            if metadata.is_dir() {
                let text = format!("{} is a folder; name a file", path.display());
                return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
            }
            let body = Self::from_stream(tokio_util::io::ReaderStream::with_capacity(file, FILE_CHUNK_BYTES));
            // For a pipe or a device, `metadata.len()` is not the number of bytes that can be read.
            Ok(if metadata.is_file() { body.with_length(metadata.len()) } else { body })
        }
    }

    #[cfg(feature = "http-body")]
    fn from_http_body<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<artifact_store_core::BoxError>,
    {
        let length = body.size_hint().exact();
        let body = Self::from_stream(crate::http::data_stream(body));
        match length {
            Some(length) => body.with_length(length),
            None => body,
        }
    }
}
