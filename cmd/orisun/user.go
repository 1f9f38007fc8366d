package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/nearest"
)

func newUserCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "user",
		Short: "Create, list, change and delete users, end their sessions",
	}
	command.AddCommand(newUserCreateCommand(), newUserListCommand(), newUserRolesCommand(), newUserPasswordCommand(),
		newUserLogoutCommand(), newUserDeleteCommand())
	return command
}

const rolesHelp = "admin, operations, user, and in one boundary read:BOUNDARY, write:BOUNDARY and admin:BOUNDARY " +
	"(its indexes)"

func newUserCreateCommand() *cobra.Command {
	var name string
	var roles []string
	var asJSON bool
	command := &cobra.Command{
		Use:   "create USERNAME --role ROLE...",
		Short: "Create a user",
		Long: `Create a user. The password is typed unseen at a prompt or, where standard input
is no terminal, is a line of it (the first one; with --ask-password the second).
It is never an argument, which others on this machine could see.`,
		Example: `  orisun user create janedoe --name "Jane Doe" --role user
  orisun user create billing --role read:orders --role write:invoices < pw.txt`,
		Args: exactly("USERNAME"),
	}
	command.Flags().StringVar(&name, "name", "", "the `NAME` for people (default: the username)")
	command.Flags().StringArrayVar(&roles, "role", nil, "a `ROLE`: "+rolesHelp)
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := server.prepare(command.Context()); err != nil {
			return err
		}
		password, err := readNewPassword(command.Context(), command.InOrStdin(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		if name == "" {
			name = args[0]
		}
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			created, err := users.CreateUser(ctx, &orisunpb.CreateUserRequest{
				Name: name, Username: args[0], Password: password, Roles: roles,
			})
			if err != nil {
				return err
			}
			command.PrintErr(warningLines(created.GetWarnings()))
			return writeUser(command.OutOrStdout(), asJSON, "created", created.GetUser())
		})
	}
	return command
}

func newUserListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "list",
		Short:   "List all users and their roles",
		Example: `  orisun user list`,
		Args:    cobra.NoArgs,
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			list, err := users.ListUsers(ctx, &orisunpb.ListUsersRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				return writeMessages(command.OutOrStdout(), list.GetUsers()...)
			}
			return writeUsers(command.OutOrStdout(), list.GetUsers())
		})
	}
	return command
}

func newUserRolesCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "roles USERNAME ROLE...",
		Short: "Give a user other roles, instead of those it has",
		Long: `Give a user other roles, instead of those it has: admin, operations, user, and
in one boundary read:BOUNDARY, write:BOUNDARY and admin:BOUNDARY (its indexes).
The user has to log in again.`,
		Example: `  orisun user roles janedoe read:orders write:orders`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("%s needs USERNAME and at least one ROLE, such as: %s",
					command.CommandPath(), strings.TrimSpace(command.Example))
			}
			return nil
		},
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, usernames)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			id, err := findUser(ctx, users, args[0])
			if err != nil {
				return err
			}
			changed, err := users.ChangeUserRoles(ctx, &orisunpb.ChangeUserRolesRequest{UserId: id, Roles: args[1:]})
			if err != nil {
				return err
			}
			command.PrintErr(warningLines(changed.GetWarnings()))
			return writeUser(command.OutOrStdout(), asJSON, "changed", changed.GetUser())
		})
	}
	return command
}

func newUserPasswordCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "password [USERNAME]",
		Short: "Change your own password, or set that of another user",
		Long: `Change your own password: that of the user who logs in (--user, ORISUN_URL,
ORISUN_ADMIN_USERNAME). With the USERNAME of another user, set that one's, which
needs role admin. All sessions of the user end.

The new password is typed unseen at a prompt or, where standard input is no
terminal, is a line of it (the first one; with --ask-password the second).`,
		Example: `  orisun user password
  orisun user password janedoe
  orisun user password --user janedoe --ask-password
  ORISUN_URL=janedoe:old-password@localhost orisun user password < new.txt`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%s takes one USERNAME at most, not %d", command.CommandPath(), len(args))
			}
			return nil
		},
	}
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, usernames)
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := server.prepare(command.Context()); err != nil {
			return err
		}
		password, err := readNewPassword(command.Context(), command.InOrStdin(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			username, change := server.user, changeOwnPassword
			if len(args) > 0 && args[0] != server.user {
				username, change = args[0], setPassword
			}
			if err := change(ctx, users, server, username, password); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "changed the password of %s; its sessions end\n", oneLine(username))
			return err
		})
	}
	return command
}

func changeOwnPassword(
	ctx context.Context, users orisunpb.AdminClient, server *connection, username, password string,
) error {
	own, err := users.ValidateCredentials(ctx, &orisunpb.ValidateCredentialsRequest{
		Username: username, Password: server.password,
	})
	if err != nil {
		return err
	}
	_, err = users.ChangePassword(ctx, &orisunpb.ChangePasswordRequest{
		UserId: own.GetUser().GetUserId(), CurrentPassword: server.password, NewPassword: password,
	})
	return err
}

func setPassword(ctx context.Context, users orisunpb.AdminClient, _ *connection, username, password string) error {
	id, err := findUser(ctx, users, username)
	if err != nil {
		return err
	}
	_, err = users.SetUserPassword(ctx, &orisunpb.SetUserPasswordRequest{UserId: id, NewPassword: password})
	return err
}

func newUserLogoutCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "logout USERNAME",
		Short: "End all sessions of a user",
		Long: `End all sessions of a user: its tokens are void on every node, and its open
subscriptions end. The password stays, so programs that send it log in again.
Set another password with orisun user password USERNAME to keep them out.`,
		Example:    `  orisun user logout janedoe`,
		SuggestFor: []string{"end-sessions", "revoke", "kick"},
		Args:       exactly("USERNAME"),
	}
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, usernames)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			id, err := findUser(ctx, users, args[0])
			if err != nil {
				return err
			}
			if _, err := users.EndUserSessions(ctx, &orisunpb.EndUserSessionsRequest{UserId: id}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "ended all sessions of %s\n", oneLine(args[0]))
			return err
		})
	}
	return command
}

func newUserDeleteCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:   "delete USERNAME",
		Short: "Delete a user and end its sessions",
		Long: `Delete a user, whose sessions end; the username is free again. The command asks
before it does that; where standard input is no terminal, --yes is needed.`,
		Example: `  orisun user delete janedoe
  orisun user delete janedoe --yes`,
		SuggestFor: []string{"remove", "rm", "drop"},
		Args:       exactly("USERNAME"),
	}
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, usernames)
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := server.prepare(command.Context()); err != nil {
			return err
		}
		if err := confirmUnless(yes, command, "Delete user "+oneLine(args[0])); err != nil {
			return err
		}
		return withAdmin(command.Context(), server, func(ctx context.Context, users orisunpb.AdminClient) error {
			id, err := findUser(ctx, users, args[0])
			if err != nil {
				return err
			}
			if _, err := users.DeleteUser(ctx, &orisunpb.DeleteUserRequest{UserId: id}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "deleted user %s; its sessions end\n", oneLine(args[0]))
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
	var names []string
	for _, user := range list.GetUsers() {
		if user.GetUsername() == username {
			return user.GetUserId(), nil
		}
		names = append(names, user.GetUsername())
	}
	if near, found := nearest.Name(username, names); found {
		return "", fmt.Errorf("no user is called %q: did you mean %s?", username, oneLine(near))
	}
	return "", fmt.Errorf("no user is called %q: orisun user list shows all", username)
}

func writeUser(out io.Writer, asJSON bool, done string, user *orisunpb.AdminUser) error {
	if asJSON {
		return writeMessages(out, user)
	}
	_, err := fmt.Fprintf(out, "%s user %s (%s) with roles %s\n",
		done, oneLine(user.GetUsername()), user.GetUserId(), strings.Join(user.GetRoles(), ", "))
	return err
}

func writeUsers(out io.Writer, users []*orisunpb.AdminUser) error {
	text := "USERNAME\tNAME\tROLES\tCREATED\tID\n"
	for _, user := range users {
		text += fmt.Sprintf("%s\t%s\t%s\t%s\t%s\n",
			oneLine(user.GetUsername()), oneLine(user.GetName()), strings.Join(user.GetRoles(), ", "),
			user.GetCreatedAt().AsTime().Format(time.DateTime), user.GetUserId())
	}
	return writeTable(out, text)
}
