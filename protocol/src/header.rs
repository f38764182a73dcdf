//! The 16 bytes that begin every frame, the same size both ways.
//!
//! ```text
//!  0       4   5   6     8          12         16
//! ├───────┼───┼───┼─────┼──────────┼──────────┤
//! │ length│ver│op │flags│request id│ epoch    │ body …      request
//! │ length│ver│sta│flags│request id│ epoch    │ body …      response
//! └───────┴───┴───┴─────┴──────────┴──────────┘
//! ```
//! `length` counts what follows it: 12 bytes of header and the body.

use byteorder::{BigEndian, ByteOrder};

use crate::ids::{Epoch, RequestId};
use crate::limits::{HEADER_BYTES, LENGTH_FIELD_BYTES};

/// The protocol version that this release speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// Header bytes that the length field counts.
pub const HEADER_COUNTED_BYTES: usize = HEADER_BYTES - LENGTH_FIELD_BYTES;

/// A frame's header, its length field aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of the frame.
    pub version: u8,
    /// Opcode of a request, status of a response.
    pub code: u8,
    /// Flag bits; a request's are named in [`crate::op::flags`], a response has none yet.
    pub flags: u16,
    /// Ties a response to its request.
    pub request_id: RequestId,
    /// Epoch of the sender's map; 0 when it has none.
    pub epoch: Epoch,
}

impl Header {
    /// Reads the 16 bytes; answers the length field and the rest.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> (u32, Header) {
        let header = Header {
            version: bytes[4],
            code: bytes[5],
            flags: BigEndian::read_u16(&bytes[6..8]),
            request_id: RequestId(BigEndian::read_u32(&bytes[8..12])),
            epoch: Epoch(BigEndian::read_u32(&bytes[12..16])),
        };
        (BigEndian::read_u32(&bytes[..4]), header)
    }

    /// The 16 bytes for a body of `body_bytes` bytes, at most `BODY_BYTES_MAX`.
    #[must_use]
    #[inline]
    pub fn encode(&self, body_bytes: usize) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        BigEndian::write_u32(&mut bytes[..4], (HEADER_COUNTED_BYTES + body_bytes) as u32);
        bytes[4] = self.version;
        bytes[5] = self.code;
        BigEndian::write_u16(&mut bytes[6..8], self.flags);
        BigEndian::write_u32(&mut bytes[8..12], self.request_id.0);
        BigEndian::write_u32(&mut bytes[12..16], self.epoch.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let header = Header {
            version: 1,
            code: 0x12,
            flags: 0x0408,
            request_id: RequestId(0xA1B2_C3D4),
            epoch: Epoch(9),
        };
        let bytes = header.encode(5);
        assert_eq!(bytes, [0, 0, 0, 17, 1, 0x12, 4, 8, 0xA1, 0xB2, 0xC3, 0xD4, 0, 0, 0, 9]);
        assert_eq!(Header::decode(&bytes), (17, header));
    }
}
