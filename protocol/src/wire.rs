//! Reading and writing the big-endian fields that bodies are made of.

use byteorder::{BigEndian, ByteOrder};

use crate::error::Malformed;
use crate::ids::{Cfg, Incarnation, Member, NodeId};
use crate::limits::ADDRESS_BYTES_MAX;

/// Reads fields from the front of a body; every method fails when the body ends early.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

const CUT: Malformed = Malformed("body ends too early");

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.bytes(2).map(BigEndian::read_u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes(4).map(BigEndian::read_u32)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.bytes(8).map(BigEndian::read_u64)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        self.bytes(16).map(BigEndian::read_u128)
    }

    /// A configuration number: 4 bytes, the first of them 0.
    pub(crate) fn cfg(&mut self) -> Result<Cfg, Malformed> {
        Cfg::from_wire(self.u32()?).ok_or(Malformed("configuration number of more than 24 bits"))
    }

    /// A byte that is 0 or 1.
    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither 0 nor 1")),
        }
    }

    /// `HOST:PORT`: its length in 2 bytes, then that much text.
    pub(crate) fn address(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.u16()?);
        if length == 0 || length > ADDRESS_BYTES_MAX {
            return Err(Malformed("length of an address"));
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed("an address is no text"))
    }

    /// A start of a node: 4 bytes of id, 8 of incarnation.
    pub(crate) fn member(&mut self) -> Result<Member, Malformed> {
        Ok(Member { node: NodeId(self.u32()?), incarnation: Incarnation(self.u64()?) })
    }

    /// So many of them. Nothing is set aside for the count: the list grows as they are read.
    pub(crate) fn members(&mut self, count: usize) -> Result<Vec<Member>, Malformed> {
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(self.member()?);
        }
        Ok(members)
    }

    /// A byte that must be 0 until a later version gives it a meaning.
    pub(crate) fn reserved_u8(&mut self) -> Result<(), Malformed> {
        if self.u8()? == 0 { Ok(()) } else { Err(Malformed("reserved byte is not 0")) }
    }

    pub(crate) fn reserved_u16(&mut self) -> Result<(), Malformed> {
        if self.u16()? == 0 { Ok(()) } else { Err(Malformed("reserved bytes are not 0")) }
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Asserts that nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("body is too long")) }
    }
}

pub(crate) fn put_u8(out: &mut Vec<u8>, number: u8) {
    out.push(number);
}

pub(crate) fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_u128(out: &mut Vec<u8>, number: u128) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_member(out: &mut Vec<u8>, member: Member) {
    put_u32(out, member.node.0);
    put_u64(out, member.incarnation.0);
}

/// # Panics
/// When the address is longer than `ADDRESS_BYTES_MAX`: nothing makes one.
pub(crate) fn put_address(out: &mut Vec<u8>, address: &str) {
    assert!(address.len() <= ADDRESS_BYTES_MAX, "an address of {} bytes", address.len());
    put_u16(out, address.len() as u16);
    out.extend_from_slice(address.as_bytes());
}
