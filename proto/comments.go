package orisunpb

import (
	_ "embed"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// descriptors is what `buf build` makes of the .proto files. Generated Go code has no comments in its descriptors, this
// has.
//
//go:embed comments.binpb
var descriptors []byte

// CommentedFiles returns the protocol's files with their comments, in SourceLocations.
func CommentedFiles() ([]protoreflect.FileDescriptor, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(descriptors, &set); err != nil {
		return nil, fmt.Errorf("proto/comments.binpb: %w", err)
	}
	files := make([]protoreflect.FileDescriptor, len(set.GetFile()))
	known := commented{protoregistry.GlobalFiles, new(protoregistry.Files)}
	for i, described := range set.GetFile() {
		file, err := protodesc.NewFile(described, known)
		if err == nil {
			err = known.own.RegisterFile(file)
		}
		if err != nil {
			return nil, fmt.Errorf("proto/comments.binpb: %s: %w", described.GetName(), err)
		}
		files[i] = file
	}
	return files, nil
}

// commented resolves imports: the protocol's own files are those with comments.
type commented struct {
	*protoregistry.Files
	own *protoregistry.Files
}

// FindFileByPath implements protodesc.Resolver.
func (c commented) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, err := c.own.FindFileByPath(path); err == nil {
		return file, nil
	}
	return c.Files.FindFileByPath(path)
}

// FindDescriptorByName implements protodesc.Resolver.
func (c commented) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if found, err := c.own.FindDescriptorByName(name); err == nil {
		return found, nil
	}
	return c.Files.FindDescriptorByName(name)
}
