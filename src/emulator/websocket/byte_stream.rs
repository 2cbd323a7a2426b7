//! A byte stream over a WebSocket.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames::{Broken, Frame, FrameReader, Size, write_close, write_data, write_pong};

/// The buffer in bytes between the WebSocket and the byte stream.
const BUFFER: usize = 16 << 10;
/// The largest frame.
const MAX_FRAME: usize = 1 << 20;

/// Runs `serve` over the byte stream that a WebSocket carries, whatever the boundaries of its frames \[D].
pub(in crate::emulator) async fn serve<S, F>(io: S, serve: impl FnOnce(DuplexStream) -> F)
where
    S: AsyncRead + AsyncWrite,
    F: Future<Output = ()>,
{
    let (reader, mut writer) = tokio::io::split(io);
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut from_server, mut to_server) = tokio::io::split(near);
    let pings = watch::Sender::new(None);
    let mut pinged = pings.subscribe();

    let reading = async {
        let mut frames = FrameReader::new(reader, Size::Limited(MAX_FRAME));
        loop {
            match frames.next().await {
                Ok(Frame::Data(data)) => {
                    if to_server.write_all(&data.bytes).await.is_err() {
                        return CloseCode::Normal;
                    }
                }
                Ok(Frame::Ping(payload)) => drop(pings.send_replace(Some(payload))),
                Ok(Frame::Pong(_) | Frame::EmptyMessage(_)) => {}
                Ok(Frame::Close(_)) => return CloseCode::Normal,
                Err(broken) => {
                    log::info!("websocket: a client is disconnected: {broken}");
                    return match broken {
                        Broken::Protocol(code, _) => code,
                        Broken::Gone(_) | Broken::Failed(_) => CloseCode::Normal,
                    };
                }
            }
        }
    };
    let writing = async {
        let mut block = vec![0; BUFFER];
        let mut out = Vec::new();
        loop {
            tokio::select! {
                count = from_server.read(&mut block) => match count {
                    Ok(count @ 1..) => write_data(&block[..count], &mut out),
                    _ => return CloseCode::Normal,
                },
                Ok(()) = pinged.changed() => {
                    if let Some(payload) = pinged.borrow_and_update().clone() {
                        write_pong(&payload, &mut out);
                    }
                }
            }
            if writer.write_all(&out).await.is_err() || writer.flush().await.is_err() {
                return CloseCode::Normal;
            }
            out.clear();
        }
    };
    let serving = serve(far);
    let code = {
        tokio::pin!(reading, writing, serving);
        tokio::select! {
            code = &mut reading => code,
            code = &mut writing => code,
            // The last bytes that it wrote, such as a refusal, are still to be sent.
            () = &mut serving => writing.await,
        }
    };
    let mut close = Vec::new();
    write_close(code, "", &mut close);
    let _ = writer.write_all(&close).await;
    let _ = writer.shutdown().await;
}
