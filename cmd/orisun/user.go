package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

func newUserCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "user",
		Short: "Create, list and delete users, and change their roles and one's own password",
	}
	command.AddCommand(newUserCreateCommand(), newUserListCommand(), newUserRolesCommand(), newUserPasswordCommand(), newUserDeleteCommand())
	return command
}

// withUsers gives a command the client of the server that its flags name. The errors of calls are made ones for people.
func withUsers(server *connection, do func(orisunpb.AdminClient) error) (err error) {
	conn, err := server.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := do(orisunpb.NewAdminClient(conn)); err != nil {
		return explain(err)
	}
	return nil
}

const rolesHelp = "admin, operations, user, and in one boundary read:BOUNDARY, write:BOUNDARY and admin:BOUNDARY (its indexes)"

func newUserCreateCommand() *cobra.Command {
	var name string
	var roles []string
	var asJSON bool
	command := &cobra.Command{
		Use:   "create USERNAME --role ROLE...",
		Short: "Create a user",
		Long: `Create a user. The password is asked for without being shown or, where standard input is no terminal, is a line of it (the
first one; with --ask-password the second): never an argument, which others on this machine could see.`,
		Example: `  orisun user create janedoe --name "Jane Doe" --role user
  orisun user create billing --role read:orders --role write:invoices < password.txt`,
		Args: exactly("USERNAME"),
	}
	command.Flags().StringVar(&name, "name", "", "the name for people (default the username)")
	command.Flags().StringArrayVar(&roles, "role", nil, "a role: "+rolesHelp)
	command.Flags().BoolVar(&asJSON, "json", false, "print the user as JSON")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := server.prepare(); err != nil {
			return err
		}
		password, err := readNewPassword(command.InOrStdin(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		if name == "" {
			name = args[0]
		}
		return withUsers(server, func(users orisunpb.AdminClient) error {
			created, err := users.CreateUser(command.Context(), &orisunpb.CreateUserRequest{Name: name, Username: args[0], Password: password, Roles: roles})
			if err != nil {
				return err
			}
			return writeUser(command.OutOrStdout(), asJSON, "created", created.GetUser())
		})
	}
	return command
}

func newUserListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{Use: "list", Short: "List all users and their roles", Example: `  orisun user list`, Args: cobra.NoArgs}
	command.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as JSON")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		return withUsers(server, func(users orisunpb.AdminClient) error {
			list, err := users.ListUsers(command.Context(), &orisunpb.ListUsersRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(command.OutOrStdout(), list)
			}
			return writeUsers(command.OutOrStdout(), list.GetUsers())
		})
	}
	return command
}

func newUserRolesCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "roles USERNAME ROLE...",
		Short:   "Give a user other roles, instead of those it has",
		Long:    "Give a user other roles, instead of those it has: " + rolesHelp + ". The user has to log in again.",
		Example: `  orisun user roles janedoe read:orders write:orders`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError{fmt.Errorf("%s needs USERNAME and at least one ROLE, such as: %s", command.CommandPath(), strings.TrimSpace(command.Example))}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print the user as JSON")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withUsers(server, func(users orisunpb.AdminClient) error {
			id, err := findUser(command.Context(), users, args[0])
			if err != nil {
				return err
			}
			changed, err := users.ChangeUserRoles(command.Context(), &orisunpb.ChangeUserRolesRequest{UserId: id, Roles: args[1:]})
			if err != nil {
				return err
			}
			return writeUser(command.OutOrStdout(), asJSON, "changed", changed.GetUser())
		})
	}
	return command
}

func newUserPasswordCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "password",
		Short: "Change one's own password",
		Long: `Change one's own password: that of the user who logs in (--user, ORISUN_URL, ORISUN_ADMIN_USERNAME) with the present one. The new one is asked for without being
shown or, where standard input is no terminal, is a line of it (the first one; with --ask-password the second).`,
		Example: `  orisun user password
  orisun user password --user janedoe --ask-password
  ORISUN_URL=grpc://janedoe:old-password@localhost orisun user password < new-password.txt`,
		Args: cobra.NoArgs,
	}
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := server.prepare(); err != nil {
			return err
		}
		password, err := readNewPassword(command.InOrStdin(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		return withUsers(server, func(users orisunpb.AdminClient) error {
			own, err := users.ValidateCredentials(command.Context(), &orisunpb.ValidateCredentialsRequest{Username: server.user, Password: server.password})
			if err != nil {
				return err
			}
			_, err = users.ChangePassword(command.Context(), &orisunpb.ChangePasswordRequest{
				UserId: own.GetUser().GetUserId(), CurrentPassword: server.password, NewPassword: password,
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "changed the password of %s; its sessions end\n", oneLine(server.user))
			return err
		})
	}
	return command
}

func newUserDeleteCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "delete USERNAME",
		Short:   "Delete a user, whose sessions end; the username is free again",
		Example: `  orisun user delete janedoe`,
		Args:    exactly("USERNAME"),
	}
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withUsers(server, func(users orisunpb.AdminClient) error {
			id, err := findUser(command.Context(), users, args[0])
			if err != nil {
				return err
			}
			if _, err := users.DeleteUser(command.Context(), &orisunpb.DeleteUserRequest{UserId: id}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "deleted user %s\n", oneLine(args[0]))
			return err
		})
	}
	return command
}

// findUser is the id of a username.
func findUser(ctx context.Context, users orisunpb.AdminClient, username string) (string, error) {
	list, err := users.ListUsers(ctx, &orisunpb.ListUsersRequest{})
	if err != nil {
		return "", err
	}
	for _, user := range list.GetUsers() {
		if user.GetUsername() == username {
			return user.GetUserId(), nil
		}
	}
	return "", fmt.Errorf("no user is called %q; `orisun user list` lists those there are", username)
}

func writeJSON(out io.Writer, message proto.Message) error {
	_, err := fmt.Fprintln(out, protojson.Format(message))
	return err
}

func writeUser(out io.Writer, asJSON bool, done string, user *orisunpb.AdminUser) error {
	if asJSON {
		return writeJSON(out, user)
	}
	_, err := fmt.Fprintf(out, "%s user %s (%s) with roles %s\n", done, oneLine(user.GetUsername()), user.GetUserId(), strings.Join(user.GetRoles(), ", "))
	return err
}

func writeUsers(out io.Writer, users []*orisunpb.AdminUser) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text := "USERNAME\tNAME\tROLES\tCREATED\tID\n"
	for _, user := range users {
		text += fmt.Sprintf("%s\t%s\t%s\t%s\t%s\n", oneLine(user.GetUsername()), oneLine(user.GetName()), strings.Join(user.GetRoles(), ", "),
			user.GetCreatedAt().AsTime().Format(time.DateTime), user.GetUserId())
	}
	if _, err := io.WriteString(table, text); err != nil {
		return err
	}
	return table.Flush()
}
