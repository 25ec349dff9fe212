//! Saying it elsewhere: on standard output, on standard error, or in files. Everything here blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use thiserror::Error;

/// Why an output cannot be used.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// Neither a file's path nor `stdout` or `stderr`.
    #[error("cannot write to `{0}`: use stdout, stderr, a file's path, or file:// and an absolute path")]
    Scheme(String),
    /// The operating system says no.
    #[error("cannot open `{path}` for writing: {source}")]
    File { path: String, source: io::Error },
}

/// All outputs of one exporter and signal.
#[derive(Debug)]
pub(super) struct Outputs {
    outputs: Vec<(String, Output)>,
    /// Of the message that is being written.
    error: Option<String>,
}

#[derive(Debug)]
enum Output {
    Stdout,
    Stderr,
    File(File),
}

impl Outputs {
    /// Opens files for adding to their end.
    pub(super) fn open(paths: &[String]) -> Result<Self, OutputError> {
        let open = |path: &String| Ok((path.clone(), Output::open(path)?));
        Ok(Self { outputs: paths.iter().map(open).collect::<Result<_, _>>()?, error: None })
    }

    /// Writes to all of them; what fails does so without holding up the others.
    pub(super) fn write(&mut self, text: &str) {
        for (path, output) in &mut self.outputs {
            if let Err(error) = output.write(text.as_bytes()) {
                self.error = Some(format!("cannot write to `{path}`: {error}"));
            }
        }
    }

    /// What has failed since the last time.
    pub(super) fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }
}

impl Output {
    fn open(path: &str) -> Result<Self, OutputError> {
        let file_path = match path.split_once("://") {
            None if path == "stdout" => return Ok(Self::Stdout),
            None if path == "stderr" => return Ok(Self::Stderr),
            None => path,
            Some(("file", absolute)) if absolute.starts_with('/') => absolute,
            Some(_) => return Err(OutputError::Scheme(path.to_owned())),
        };
        let opened = OpenOptions::new().append(true).create(true).open(file_path);
        opened.map(Self::File).map_err(|source| OutputError::File { path: path.to_owned(), source })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().write_all(bytes),
            Self::File(file) => file.write_all(bytes),
        }
    }
}
