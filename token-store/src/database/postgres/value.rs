//! Our values on PostgreSQL's wire, in its binary form.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::database::{Row, Value};

/// The type a value is sent as; a missing one gets its type from where it stands.
pub(super) fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::UNKNOWN,
        Value::Integer(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
    }
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql(ty, out),
            // PostgreSQL has no NUL in texts. A name with one belongs to no account, and a lookup must find none.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    // What a value is sent as was said in `type_of`; nothing is to see of a missing one.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Columns are ours, or results of our own expressions.
pub(super) fn read_row(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let read = |(index, column): (usize, &tokio_postgres::Column)| {
        Ok(match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index)?.map_or(Value::Null, Value::Integer),
            Type::INT4 => {
                row.try_get::<_, Option<i32>>(index)?.map_or(Value::Null, |number| Value::Integer(number.into()))
            }
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.map_or(Value::Null, Value::Bytes),
            _ => row.try_get::<_, Option<String>>(index)?.map_or(Value::Null, Value::Text),
        })
    };
    Ok(Row(row.columns().iter().enumerate().map(read).collect::<Result<_, _>>()?))
}
