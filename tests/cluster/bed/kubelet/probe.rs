//! Readiness, asked of the real program on its own health port.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::container::Port;

/// A container's readinessProbe; asked twice a second whatever its period says, to make tests fast.
pub struct Probe {
    port: u16,
    path: String,
    tick: tokio::time::Interval,
}

impl Probe {
    /// The HTTP probe of the container, its port translated to the one that the program really listens on.
    pub fn of(container: &Container, ports: &[Port]) -> Option<Self> {
        let get = container.readiness_probe.as_ref()?.http_get.as_ref()?;
        let wanted = match &get.port {
            IntOrString::Int(port) => u16::try_from(*port).ok()?,
            IntOrString::String(name) => {
                let mut named = container.ports.iter().flatten();
                let port = named.find(|port| port.name.as_ref() == Some(name))?;
                u16::try_from(port.container_port).ok()?
            }
        };
        let (_, _, port) = ports.iter().find(|(_, inside, _)| *inside == wanted)?;
        Some(Self {
            port: *port,
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
            tick: tokio::time::interval(Duration::from_millis(500)),
        })
    }

    /// The answer of the next round; never comes without a probe.
    pub async fn next(probe: &mut Option<Self>) -> bool {
        match probe {
            Some(probe) => {
                probe.tick.tick().await;
                let ask = ask(probe.port, &probe.path);
                matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
            }
            None => std::future::pending().await,
        }
    }
}

async fn ask(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer.ends_with(b" 200"))
}
