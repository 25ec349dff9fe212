//! What the binaries share: runtimes, signals, sockets, and writing to the terminal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// A tokio runtime: on the calling thread when one thread is asked for.
///
/// # Errors
/// When the operating system gives no threads or descriptors.
pub fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = if threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(threads.max(1)).enable_all().build()
}

/// Cancels `token` on SIGINT or SIGTERM.
///
/// # Errors
/// When signal handlers cannot be installed.
pub fn cancel_on_signal(token: CancellationToken) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    });
    Ok(())
}

/// Listens with a backlog that a thousand simultaneous connects fit into.
///
/// # Errors
/// When the address is taken or not ours, naming it.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let bind = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(4096)
    };
    bind().map_err(|error| io::Error::new(error.kind(), format!("could not listen on {addr}: {error}")))
}

/// Connects without Nagle's algorithm, which would add 40 ms to every small write that waits for an acknowledgement.
///
/// # Errors
/// When nobody listens, naming the address.
pub async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("could not connect to {addr}: {error}")))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes a line to standard output; a closed pipe is not an error worth dying for.
pub fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes pretty JSON to a file, or to standard output when the path is `-`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    if path == Path::new("-") {
        return io::stdout().lock().write_all(text.as_bytes());
    }
    std::fs::write(path, text)
        .map_err(|error| io::Error::new(error.kind(), format!("could not write {}: {error}", path.display())))
}
