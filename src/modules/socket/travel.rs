//! Sockets travel to new processes and over Unix sockets: the other process gets a descriptor of the same
//! connection, which ends when both have closed theirs.

use super::handle::Socket;
use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::language::exception::{Outcome, raise_io};
use crate::runtime::sync::Arc;

impl Travel for Socket {
    const TAG: &'static str = "socket.socket";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        for number in [self.family(), self.kind(), self.protocol()] {
            out.u64(u64::from(number.cast_unsigned()));
        }
        // A timeout is never NaN, so NaN says that there is none.
        out.u64(self.timeout().unwrap_or(f64::NAN).to_bits());
        let fd = self.descriptor();
        out.u64(u64::from(fd.is_some()));
        match fd {
            Some(fd) => out.fd(fd),
            None => Ok(()),
        }
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let mut number = || -> Outcome<i32> {
            let number = u32::try_from(input.u64()?).map_err(|_| Decoder::bad("a number of a socket"))?;
            Ok(number.cast_signed())
        };
        let (family, kind, protocol) = (number()?, number()?, number()?);
        let timeout = f64::from_bits(input.u64()?);
        let is_open = input.u64()? != 0;
        let socket = match is_open {
            true => Self::new(Arc::new(input.fd()?), family, kind, protocol)
                .map_err(|error| raise_io(&error, None))?,
            false => Self::closed(family, kind, protocol),
        };
        socket.set_timeout((!timeout.is_nan()).then_some(timeout));
        Ok(socket)
    }
}
