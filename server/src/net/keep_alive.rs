//! What is asked of the system for each connection: to send answers at once, and to notice a peer that has gone
//! without a word (its machine lost power, a firewall forgot the connection).

use std::io;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::net::sockopt;

use crate::limits::{KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES};

/// A silent peer that is not there any more is given up after this, seconds.
const GONE_S: u64 = KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES as u64;

/// Sets all of it. `stall_s`: how long the daemon itself waits for a peer to take an answer, 0 for ever.
///
/// # Errors
/// What the system says, as for a connection that has been reset already.
pub(crate) fn set_options(stream: &TcpStream, stall_s: u32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(KEEPALIVE_IDLE_S))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(KEEPALIVE_INTERVAL_S))?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    // While answers are under way no questions are asked; then this bounds how long they are sent again (a quarter of
    // an hour otherwise). It counts against a living peer that takes nothing as well, so not before the daemon's own
    // limit, and not at all where there is none.
    #[cfg(target_os = "linux")]
    if stall_s > 0 {
        let unacknowledged_s = GONE_S.max(u64::from(stall_s));
        sockopt::set_tcp_user_timeout(stream, (unacknowledged_s * 1_000) as u32)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_keeps_what_it_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = TcpStream::from_std(stream);
        set_options(&stream, 0).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(120));
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), Duration::from_secs(15));
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 4);
        #[cfg(target_os = "linux")]
        for (stall_s, expected_ms) in [(0, 0), (60, 180_000), (3_600, 3_600_000)] {
            set_options(&stream, stall_s).unwrap();
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), expected_ms);
        }
    }
}
