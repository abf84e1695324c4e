import { Module } from '@nestjs/common'
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core'
import { MongooseModule } from '@nestjs/mongoose'
import { KMS, KmsModule } from './kms.js'
import { DuplicateFilter, InvalidFilter } from './refusals.js'
import { AuditInterceptor, StaffGuard } from './staff.js'
import { User, userSchema } from './user.js'
import { UsersController, UsersService } from './users.js'

@Module({
  imports: [
    MongooseModule.forRootAsync({ useFactory: () => ({ uri: process.env.MONGODB_URI }) }),
    MongooseModule.forFeatureAsync([{ name: User.name, imports: [KmsModule], inject: [KMS], useFactory: userSchema }]),
  ],
  controllers: [UsersController],
  providers: [
    UsersService,
    { provide: APP_GUARD, useClass: StaffGuard },
    { provide: APP_INTERCEPTOR, useClass: AuditInterceptor },
    { provide: APP_FILTER, useClass: InvalidFilter },
    { provide: APP_FILTER, useClass: DuplicateFilter },
  ],
})
export class AppModule {}
