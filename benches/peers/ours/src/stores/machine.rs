//! What the machine can do: hash, write a file, and send a byte over loopback TCP and receive one. A store that does the
//! same step cannot be faster.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use artifact_store_bench_load::{Case, Error, Kind, Measured, Store, Work, measured};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Sha256,
    Blake3,
    Write,
    WriteAndSync,
    RoundTrip,
}

struct Machine {
    step: Step,
    dir: PathBuf,
    /// Answers each byte with a byte.
    echo: OnceCell<SocketAddr>,
    idle: Mutex<Vec<TcpStream>>,
}

pub(crate) fn all(dir: &Path) -> Vec<Box<dyn Measured>> {
    let steps = [Step::Sha256, Step::Blake3, Step::Write, Step::WriteAndSync, Step::RoundTrip];
    let machine = |step| Machine { step, dir: dir.to_owned(), echo: OnceCell::new(), idle: Mutex::default() };
    steps.into_iter().map(|step| measured(machine(step))).collect()
}

impl Machine {
    async fn round_trip(&self) -> Result<(), Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = if let Some(stream) = idle {
            stream
        } else {
            let stream = TcpStream::connect(self.echo.get_or_try_init(echo_server).await?).await?;
            stream.set_nodelay(true)?;
            stream
        };
        stream.write_u8(1).await?;
        stream.read_u8().await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(())
    }
}

async fn echo_server() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
        Ok::<_, std::io::Error>(())
    });
    Ok(address)
}

impl Store for Machine {
    type Key = (PathBuf, Bytes);

    fn name(&self) -> &'static str {
        match self.step {
            Step::Sha256 => "SHA-256",
            Step::Blake3 => "BLAKE3",
            Step::Write => "create, write",
            Step::WriteAndSync => "create, write, fsync",
            Step::RoundTrip => "loopback TCP",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn supports(&self, case: &Case) -> bool {
        match case.work {
            Work::Hash => matches!(self.step, Step::Sha256 | Step::Blake3),
            Work::WriteFile | Work::Delete => matches!(self.step, Step::Write | Step::WriteAndSync),
            Work::RoundTrip => self.step == Step::RoundTrip,
            _ => false,
        }
    }

    async fn put(&self, name: String, body: Bytes) -> Result<Self::Key, Error> {
        let path = self.dir.join(name);
        if matches!(self.step, Step::Write | Step::WriteAndSync) {
            let mut file = File::create_new(&path)?;
            file.write_all(&body)?;
            if self.step == Step::WriteAndSync {
                file.sync_all()?;
            }
            return Ok((path, Bytes::new()));
        }
        Ok((path, body))
    }

    async fn get(&self, (_, body): &Self::Key, _range: Option<Range<u64>>) -> Result<u64, Error> {
        match self.step {
            Step::Sha256 => drop(std::hint::black_box(Sha256::digest(body))),
            Step::Blake3 => drop(std::hint::black_box(blake3::hash(body))),
            _ => {
                self.round_trip().await?;
                return Ok(1);
            }
        }
        Ok(body.len() as u64)
    }

    async fn delete(&self, (path, _): &Self::Key) -> Result<(), Error> {
        Ok(std::fs::remove_file(path)?)
    }
}
