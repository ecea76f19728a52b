//! The 40 ms before the first byte of a streamed answer: taken away where the runtime's own client leaves them.

use socket2::SockRef;

/// Sets TCP_NODELAY on every socket of this process.
///
/// The client of `lambda_runtime` writes the head and the prelude of an answer as two small segments and leaves Nagle's
/// algorithm on, so the second one waits for the delayed acknowledgement of the first. It has no setting for that and gives
/// its socket to nobody; the system gives a second handle of it. Where the system does not, nothing is lost but time.
#[cfg(target_os = "linux")]
pub fn on_all_sockets() {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let (Ok(me), Ok(handles)) = (
        pidfd_open(getpid(), PidfdFlags::empty()),
        std::fs::read_dir("/proc/self/fd"),
    ) else {
        return;
    };
    for handle in handles.flatten() {
        let is_socket = std::fs::read_link(handle.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = handle.file_name().to_string_lossy().parse();
        if let (true, Ok(number)) = (is_socket, number)
            && let Ok(socket) = pidfd_getfd(&me, number, PidfdGetfdFlags::empty())
        {
            // Of another kind of socket it is refused.
            let _ = SockRef::from(&socket).set_tcp_nodelay(true);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn on_all_sockets() {}
