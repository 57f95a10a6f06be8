package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// A footer is a FileMetaData structure in Thrift's compact protocol, its length in
// four bytes, and a magic. In it, metadata may have a key without a value (KeyValue.value is
// optional in parquet.thrift); the Parquet library wants one and refuses the file.
const (
	footerMagic    = "PAR1"
	encryptedMagic = "PARE"
)

var errEncrypted = errors.New("the file is encrypted; write it again without")

// isEncrypted says whether a file's footer is encrypted.
func isEncrypted(f io.ReaderAt, size int64) bool {
	var end [4]byte
	_, err := f.ReadAt(end[:], max(0, size-4))
	return err == nil && string(end[:]) == encryptedMagic
}

// The structures of the library's package format on the way to its KeyValue, in
// which alone they differ: a value need not be there to be read, and is always written.
type (
	fileMetaData struct {
		Version                  int32                              `thrift:"1,required"`
		Schema                   thrift.Slice[format.SchemaElement] `thrift:"2,required"`
		NumRows                  int64                              `thrift:"3,required"`
		RowGroups                thrift.Slice[group]                `thrift:"4,required"`
		KeyValueMetadata         thrift.Slice[keyValue]             `thrift:"5,optional"`
		CreatedBy                string                             `thrift:"6,optional"`
		ColumnOrders             thrift.Slice[format.ColumnOrder]   `thrift:"7,optional"`
		EncryptionAlgorithm      format.EncryptionAlgorithm         `thrift:"8,optional"`
		FooterSigningKeyMetadata []byte                             `thrift:"9,optional"`
	}
	group struct {
		Columns             thrift.Slice[chunk]                `thrift:"1,required"`
		TotalByteSize       int64                              `thrift:"2,required"`
		NumRows             int64                              `thrift:"3,required"`
		SortingColumns      thrift.Slice[format.SortingColumn] `thrift:"4,optional"`
		FileOffset          int64                              `thrift:"5,optional"`
		TotalCompressedSize int64                              `thrift:"6,optional"`
		Ordinal             int16                              `thrift:"7,optional,writezero"`
	}
	chunk struct {
		FilePath                string                      `thrift:"1,optional"`
		FileOffset              int64                       `thrift:"2,required"`
		MetaData                chunkMetaData               `thrift:"3,optional"`
		OffsetIndexOffset       int64                       `thrift:"4,optional"`
		OffsetIndexLength       int32                       `thrift:"5,optional"`
		ColumnIndexOffset       int64                       `thrift:"6,optional"`
		ColumnIndexLength       int32                       `thrift:"7,optional"`
		CryptoMetadata          format.ColumnCryptoMetaData `thrift:"8,optional"`
		EncryptedColumnMetadata []byte                      `thrift:"9,optional"`
	}
	chunkMetaData struct {
		Type                  format.Type                            `thrift:"1,required"`
		Encoding              thrift.Slice[format.Encoding]          `thrift:"2,required"`
		PathInSchema          thrift.Slice[string]                   `thrift:"3,required"`
		Codec                 format.CompressionCodec                `thrift:"4,required"`
		NumValues             int64                                  `thrift:"5,required"`
		TotalUncompressedSize int64                                  `thrift:"6,required"`
		TotalCompressedSize   int64                                  `thrift:"7,required"`
		KeyValueMetadata      thrift.Slice[keyValue]                 `thrift:"8,optional"`
		DataPageOffset        int64                                  `thrift:"9,required"`
		IndexPageOffset       int64                                  `thrift:"10,optional"`
		DictionaryPageOffset  int64                                  `thrift:"11,optional"`
		Statistics            format.Statistics                      `thrift:"12,optional,writezero"`
		EncodingStats         thrift.Slice[format.PageEncodingStats] `thrift:"13,optional"`
		BloomFilterOffset     int64                                  `thrift:"14,optional"`
		BloomFilterLength     int32                                  `thrift:"15,optional"`
		SizeStatistics        format.SizeStatistics                  `thrift:"16,optional"`
		GeospatialStatistics  format.GeospatialStatistics            `thrift:"17,optional"`
	}
	keyValue struct {
		Key   string `thrift:"1,required"`
		Value string `thrift:"2,writezero"`
	}
)

// completed is a file whose footer gives every key a value, an empty one where it
// had none. It is nil where the file has no such footer.
func completed(f io.ReaderAt, size int64) (io.ReaderAt, int64) {
	var end [8]byte
	if size < 12 {
		return nil, 0
	}
	if _, err := f.ReadAt(end[:], size-8); err != nil || string(end[4:]) != footerMagic {
		return nil, 0
	}
	length := int64(binary.LittleEndian.Uint32(end[:4]))
	if length > size-8 {
		return nil, 0
	}
	head := size - 8 - length
	old := make([]byte, length)
	if _, err := f.ReadAt(old, head); err != nil {
		return nil, 0
	}
	var meta fileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), old, &meta); err != nil {
		return nil, 0
	}
	tail, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	if err != nil {
		return nil, 0
	}
	tail = binary.LittleEndian.AppendUint32(tail, uint32(len(tail)))
	tail = append(tail, footerMagic...)
	return joined{io.NewSectionReader(f, 0, head), tail, head}, head + int64(len(tail))
}

// joined is the beginning of a file with another end.
type joined struct {
	head io.ReaderAt
	tail []byte
	at   int64 // where the tail begins
}

func (j joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at byte %d", off)
	}
	if off < j.at {
		k := min(int64(len(p)), j.at-off)
		if n, err = j.head.ReadAt(p[:k], off); int64(n) < k {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	if from := off + int64(n) - j.at; from < int64(len(j.tail)) {
		n += copy(p[n:], j.tail[from:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
